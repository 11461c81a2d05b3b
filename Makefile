# make demo    convert the example photographs, train on them, evaluate, draw
# make test    ruff, mypy and pytest
# make clean   remove what these made
# make venv    the virtual environment alone; the others make it if needed
# make lock    pin the packages anew (needs uv), see CONTRIBUTING.md
# make licences   docs/licences.md, from what the installed packages say
# make sbom    dist/*.cdx.json, bills of materials of the locked packages
# make dist    dist/, the package as sdist and wheel
#
# PYTHON=...   the Python 3.10 or 3.11 to use; without it one is looked for
# SEED=...     the demo's seed

VENV := .venv
SEED := 0
# A file stays on one worker, so that what its tests share is made once.
PYTEST_ARGS := -n 2 --dist loadfile
TOOLS := .venv.tools
# Of the environment here, and of what the images hold.
SBOMS := $(patsubst requirements/%.lock,dist/efficientdet-aimmo-%.cdx.json, \
	$(wildcard $(addprefix requirements/,dev.lock cpu.lock gpu.lock)))
LOCK_ARGS :=
LOCK := uv pip compile --universal --python-version 3.10 --generate-hashes \
	--no-annotate --custom-compile-command "make lock" \
	--quiet $(LOCK_ARGS)

.PHONY: demo test clean venv lock licences sbom dist

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
	$(LOCK) requirements/tools.in --output-file requirements/tools.lock

# What only a release needs stays out of the environment that is shipped.
$(TOOLS)/.ready: requirements/tools.lock | venv
	rm -rf $(TOOLS)
	$(VENV)/bin/python -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --require-hashes --no-deps \
		--requirement requirements/tools.lock
	touch $@

licences: venv $(TOOLS)/.ready
	$(TOOLS)/bin/pip-licenses --python=$(VENV)/bin/python --with-system \
		--format=json --from=mixed | $(VENV)/bin/python scripts/list_licences.py

sbom: $(SBOMS)

dist/efficientdet-aimmo-%.cdx.json: requirements/%.lock $(TOOLS)/.ready
	mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py requirements $< --output-reproducible \
		--validate --spec-version 1.6 --output-format JSON --output-file $@

dist: $(TOOLS)/.ready
	$(TOOLS)/bin/pyproject-build --outdir dist .

clean:
	rm -rf $(VENV) $(TOOLS) demo build dist *.egg-info .pytest_cache .mypy_cache \
		.ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
