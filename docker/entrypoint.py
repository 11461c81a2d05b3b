"""Becomes the command that an image is started with; docs/image.md.

    docker run ... IMAGE WORD [FLAGS]

Before a word that computes, a quick check of the device ends a start that would
fail only after minutes. Then this process becomes the command, so that it
gets the signals that the container is sent. Standard library only.
"""

from __future__ import annotations

import difflib
import os
import signal
import subprocess
import sys
import types
from collections.abc import Sequence

MODULES = {
    "convert": "tfrecord_tools.convert",
    "merge": "tfrecord_tools.merge",
    "validate": "tfrecord_tools.validate",
    "train": "efficientdet_aimmo.train",
    "evaluate": "efficientdet_aimmo.evaluate",
    "predict": "efficientdet_aimmo.predict",
    "show": "efficientdet_aimmo.show",
    "bench": "efficientdet_aimmo.bench",
    "doctor": "efficientdet_aimmo.doctor",
    "inspect": "efficientdet_aimmo.inspect",
    "import-weights": "efficientdet_aimmo.import_weights",
    "replay": "efficientdet_aimmo.replay",
    "tensorboard": "tensorboard.main",
}
COMPUTING = ("train", "evaluate", "predict", "bench")
AS_IT_IS = ("python", "bash")
CHECK = "efficientdet_aimmo.doctor"
HELP = {"--help", "-help", "-h", "--helpfull", "-?"}

USAGE = 64
DEVICE = 69
STOPPED = 75

TEXT = f"""docker run [--gpus all] -v "$PWD:/data" IMAGE COMMAND [FLAGS]

Commands: {", ".join(MODULES)}.
Flags of one: COMMAND --help.

python, bash and programs given with their whole path are started as they are.
"""


def _leave(_: int, __: types.FrameType | None) -> None:
    print(
        "error: Stopped on request (SIGTERM) before the command began. The same"
        " command goes on.",
        file=sys.stderr,
    )
    # Not by an exception: the check is a process of this container and ends
    # with it.
    sys.stderr.flush()
    os._exit(STOPPED)


def program(words: Sequence[str]) -> list[str]:
    """Returns what to start: a program and its arguments.

    Args:
      words: what the container was given.

    Raises:
      ValueError: there is no such command.
    """
    word, *rest = words
    if word in AS_IT_IS or os.path.isabs(word):
        return [word, *rest]
    if word in MODULES:
        # -P: no file of the folder it runs in, the user's, is taken for one of
        # Python's modules.
        arguments = ["-P", "-m", MODULES[word], *rest]
        if word != "tensorboard":
            return ["python", *arguments]
        if not _given(rest, "host", "bind_all"):
            # In the container alone: what is published, docker run says.
            arguments.append("--host=0.0.0.0")
        # What libraries warn of at every start; our own commands do the same.
        return ["python", "-W", "ignore", *arguments]
    near = difflib.get_close_matches(word, [*MODULES, *AS_IT_IS], n=1)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"{word!r} is no command of this image.{guess} There are"
        f" {', '.join(MODULES)}; python, bash and programs given with their"
        " whole path are started as they are."
    )


def _given(arguments: Sequence[str], *names: str) -> list[str]:
    """Returns those arguments that set one of these flags."""
    return [
        argument
        for argument in arguments
        if argument.lstrip("-").partition("=")[0] in names
        and argument.startswith("-")
    ]


def check_device(arguments: Sequence[str]) -> int:
    """Returns the exit code of the quick check, 0 for a device that works.

    Args:
      arguments: of the command; what they say of --allow_cpu is passed on.
    """
    allowed = _given(arguments, "allow_cpu", "noallow_cpu")
    code = subprocess.run(
        ["python", "-P", "-m", CHECK, "--quick", *allowed], check=False
    ).returncode
    if code < 0:  # a driver that broke may break the process as well
        print(
            f"error: the check of the device was ended by signal {-code}. See"
            " what doctor says.",
            file=sys.stderr,
        )
        return DEVICE
    return code


def main(words: Sequence[str]) -> int:
    """Becomes the command, or returns the exit code of what prevents that."""
    # The first process of a container loses a signal that it has no handler
    # for.
    signal.signal(signal.SIGTERM, _leave)
    if not words:
        print(TEXT, file=sys.stderr, end="")
        return USAGE
    if words[0] in {"help", *HELP}:
        print(TEXT, end="")
        return 0
    try:
        command = program(words)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE
    if words[0] in COMPUTING and not HELP & set(words[1:]):
        code = check_device(words[1:])
        if code:
            return code
    if words[0] == "tensorboard":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    elif words[0] in MODULES:
        # Kept while the process becomes another: tfrecord_tools.command takes
        # it up again.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}.", file=sys.stderr)
        return 127 if isinstance(error, FileNotFoundError) else 126


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
