"""Kills a training again and again, and looks for a trace of it.

    python -m benchmarks.chaos --kills=200

A tiny detector is trained once undisturbed, in a process of its own. Then the
same training is killed at random moments, spread evenly over a run's life, by
SIGKILL and now and then by SIGTERM, and started again with the same command
until it is done; then the next one, until there were that many kills. The last
checkpoint (weights, moving average, optimizer), the best one, every evaluation
and the result must be those of the undisturbed training, byte by byte.

The killed trainings are forks of a process that has imported TensorFlow and
done nothing with it, which saves most of the time. Exits with 1 if anything
differs.
"""

from __future__ import annotations

import collections
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from absl import flags

from benchmarks import tiny_run
from tfrecord_tools import command

SIGTERM_SHARE = 0.2  # of the kills
# A run may take longer than the undisturbed one; the others are killed later,
# and a training that was killed often is given more time: the machine may have
# become slower.
SPREAD = 1.1
PATIENCE = 0.05  # of a run's life for each kill
STARTS_WITHOUT_END = 100  # after which a training does not come to its end

FLAGS = flags.FlagValues()
flags.DEFINE_integer("kills", 200, "number of kills", flag_values=FLAGS)
flags.DEFINE_integer("seed", 0, "of the moments", flag_values=FLAGS)
flags.DEFINE_integer(
    "replicas", 1, "CPU devices that share a training", flag_values=FLAGS
)
flags.DEFINE_string(
    "work_dir",
    None,
    "folder for records and models, which stay; without it a temporary one",
    flag_values=FLAGS,
)


class Death(NamedTuple):
    """One kill.

    Attributes:
      signal: SIGKILL or SIGTERM.
      phase: what the training was doing.
      code: how it ended, as a shell says it: 137 is SIGKILL.
      wait_s: seconds from the signal to the end.
    """

    signal: signal.Signals
    phase: str
    code: int
    wait_s: float

    def is_expected(self) -> bool:
        """Returns whether this end is one that a restart may rely on."""
        if self.signal == signal.SIGKILL:
            return self.code in (128 + signal.SIGKILL, command.ExitCode.DONE)
        if self.phase in ("process starts", "process ends"):
            # Nobody listens yet, or any more.
            return self.code in (0, command.ExitCode.STOPPED, 128 + 15)
        return self.code in (command.ExitCode.STOPPED, command.ExitCode.DONE)


def _train_once(
    run: tiny_run.TinyRun, moment_s: float, kind: signal.Signals
) -> tuple[int, Death | None]:
    """Starts the training, kills it at a moment; returns how it ended.

    The death is None if the training was at its end before that.
    """
    child = run.fork()
    code = child.wait(moment_s)
    if code is not None:
        return code, None
    phase = child.phase()
    started = time.perf_counter()
    child.kill(kind)
    code = child.wait(None)
    assert code is not None
    return code, Death(kind, phase, code, time.perf_counter() - started)


def _until_done(
    run: tiny_run.TinyRun, life_s: float, draw: random.Random, deaths: int
) -> tuple[list[Death], float]:
    """Gives the command until the training is done.

    Args:
      run: the training.
      life_s: seconds that an undisturbed run takes.
      draw: says when and how it is killed.
      deaths: kills at most; then it is left alone.

    Returns:
      The kills, and the seconds of a run's life as last seen.

    Raises:
      UserError: it fails by itself, or never ends.
    """
    found: list[Death] = []
    for _ in range(STARTS_WITHOUT_END):
        most_s = life_s * (SPREAD + PATIENCE * len(found))
        moment_s = draw.uniform(0.0, most_s)
        is_soft = draw.random() < SIGTERM_SHARE
        if len(found) >= deaths:
            moment_s = 60.0 * life_s  # hung, if it takes so long
        started = time.perf_counter()
        code, death = _train_once(
            run, moment_s, signal.SIGTERM if is_soft else signal.SIGKILL
        )
        if death is not None:
            found.append(death)
        if code == command.ExitCode.DONE:
            if not found:
                life_s = time.perf_counter() - started
            return found, life_s
        if death is None:
            raise command.UserError(
                command.ExitCode.DATA,
                f"A training ended by itself with code {code}; it said:\n"
                + run.log(),
            )
    raise command.UserError(
        command.ExitCode.DATA,
        f"A training was started {STARTS_WITHOUT_END} times and is not done.",
    )


def _table(deaths: list[Death]) -> str:
    """Returns kills by phase, codes, and how long a stop took."""
    lines = [f"{'the training was at':<22}{'SIGKILL':>8}{'SIGTERM':>8}"]
    counts = collections.Counter((d.phase, d.signal) for d in deaths)
    for phase in tiny_run.PHASES:
        hard, soft = (
            counts[phase, kind] for kind in (signal.SIGKILL, signal.SIGTERM)
        )
        lines.append(f"{phase:<22}{hard:>8}{soft:>8}")
    for kind in (signal.SIGKILL, signal.SIGTERM):
        codes = collections.Counter(d.code for d in deaths if d.signal == kind)
        listed = ", ".join(f"{n} x {code}" for code, n in sorted(codes.items()))
        lines.append(f"exit codes after {kind.name}: {listed or 'none'}")
    waits = [d.wait_s for d in deaths if d.code == command.ExitCode.STOPPED]
    if waits:
        lines.append(
            f"from SIGTERM to the end: {sum(waits) / len(waits):.1f} s on"
            f" average, {max(waits):.1f} s at most"
        )
    return "\n".join(lines)


def _prepare(
    folder: pathlib.Path, replicas: int
) -> tuple[dict[str, str], list[str], float]:
    """Makes records, trains undisturbed in a process of its own and in a fork.

    Returns:
      Digests of the undisturbed run, the training's arguments, and seconds of a
      run that is forked.
    """
    several = [",strategy=gpus", f",virtual_devices={replicas}"]
    # Checkpoints on steps that are no evaluation's, too.
    arguments = tiny_run.arguments(
        tiny_run.convert(folder / "records"),
        4,
        "map_freq=1" + ("".join(several) if replicas > 1 else ""),
        "--save_checkpoints_steps=3",
    )
    model_dir = folder / "undisturbed"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.tiny_run",
            *arguments,
            f"--model_dir={model_dir}",
        ],
        cwd=tiny_run.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    run = tiny_run.TinyRun(folder / "forked", arguments)
    started = time.perf_counter()
    code = run.fork().wait(None)
    life_s = time.perf_counter() - started
    expected = tiny_run.digests(model_dir)
    if code != 0 or tiny_run.digests(folder / "forked") != expected:
        raise command.UserError(
            command.ExitCode.DATA,
            f"A forked training ended with code {code}, or differs from one in"
            f" a process of its own; it said:\n{run.log()}",
        )
    return expected, arguments, life_s


def _chaos(
    folder: pathlib.Path, num_kills: int, seed: int, replicas: int
) -> list[str]:
    """Returns what is wrong, after printing what was found."""
    expected, arguments, life_s = _prepare(folder, replicas)
    print(
        f"undisturbed: {life_s:.1f} s, {len(expected)} files compared",
        flush=True,
    )
    draw = random.Random(seed)
    deaths: list[Death] = []
    recovered, identical = 0, 0
    faults: list[str] = []
    while len(deaths) < num_kills:
        model_dir = folder / f"training-{recovered:04}"
        shutil.rmtree(model_dir, ignore_errors=True)
        run = tiny_run.TinyRun(model_dir, arguments)
        found, life_s = _until_done(run, life_s, draw, num_kills - len(deaths))
        deaths += found
        recovered += 1
        seen = tiny_run.digests(model_dir)
        names = sorted(expected.keys() | seen.keys())
        others = [n for n in names if expected.get(n) != seen.get(n)]
        identical += not others
        print(
            f"training {recovered}: {len(found)} kills"
            f" ({', '.join(d.phase for d in found)}), {len(deaths)} in all;"
            f" {'differs: ' + ', '.join(others) if others else 'identical'}",
            flush=True,
        )
        if others:
            faults.append(f"{model_dir} differs in {', '.join(others)}")
        else:
            shutil.rmtree(model_dir)
    print(_table(deaths))
    faults += [f"unexpected: {d}" for d in deaths if not d.is_expected()]
    print(tiny_run.content(folder / "undisturbed"))
    print(
        f"killed {len(deaths)} times, recovered {recovered} trainings,"
        f" identical {identical}"
    )
    return faults


def main(values: flags.FlagValues) -> None:
    """Kills, compares and prints."""
    tiny_run.import_all()
    arguments = (values.kills, values.seed, values.replicas)
    if values.work_dir is not None:
        folder = pathlib.Path(values.work_dir)
        if folder.exists():
            raise command.UserError(
                command.ExitCode.EXISTS,
                f"--work_dir={folder} exists. Expected a folder to be made.",
            )
        folder.mkdir(parents=True)
        faults = _chaos(folder, *arguments)
    else:
        with tempfile.TemporaryDirectory() as name:
            faults = _chaos(pathlib.Path(name), *arguments)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        sys.exit(1)


def entry() -> int:
    """Runs the command; returns its exit code."""
    return command.run(main, FLAGS, __doc__ or "")


if __name__ == "__main__":
    sys.exit(entry())
