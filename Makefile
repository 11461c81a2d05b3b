# make demo    convert the example photographs, train on them, evaluate, draw
# make test    ruff, mypy and pytest
# make clean   remove what these made
# make venv    the virtual environment alone; the others make it if needed
# make lock    pin the packages anew (needs uv), see CONTRIBUTING.md
#
# PYTHON=...   the Python 3.10 or 3.11 to use; without it one is looked for
# SEED=...     the demo's seed

VENV := .venv
SEED := 0
# A file stays on one worker, so that what its tests share is made once.
PYTEST_ARGS := -n 2 --dist loadfile
LOCK_ARGS :=
LOCK := uv pip compile --universal --python-version 3.10 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" \
	--quiet $(LOCK_ARGS)

.PHONY: demo test clean venv lock

demo: venv
	$(VENV)/bin/python examples/demo.py --seed=$(SEED)

test: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest $(PYTEST_ARGS)

venv:
	@python=$$(scripts/find_python.sh $(PYTHON)) && \
	"$$python" scripts/make_venv.py $(VENV) $(if $(PYTHON),named)

lock:
	$(LOCK) --extra dev setup.cfg requirements/build.in \
		--output-file requirements/dev.lock
	$(LOCK) requirements/build.in --constraint requirements/dev.lock \
		--output-file requirements/build.lock
	$(LOCK) setup.cfg --constraint requirements/dev.lock \
		--output-file requirements/cpu.lock
	$(LOCK) --extra gpu setup.cfg --constraint requirements/dev.lock \
		--output-file requirements/gpu.lock

clean:
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache \
		.ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
