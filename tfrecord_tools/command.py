"""How every command starts and ends: flags in, an exit code out.

absl itself exits with 1 for --help and for a wrong flag; here help is a success
and a mistake is a usage error, both answered before anything heavy is imported.
"""

from __future__ import annotations

import enum
import errno
import os
import signal
import sys
import types
import warnings
from collections.abc import Callable, Sequence

from absl import flags


class ExitCode(enum.IntEnum):
    """The exit codes of all commands."""

    DONE = 0
    USAGE = 64  # wrong flags or configuration
    DATA = 65  # bad data, too many rejects
    DEVICE = 69  # device not usable, memory short
    DIVERGED = 70
    EXISTS = 73  # output exists, or the folder is in use
    DISK = 74
    STOPPED = 75  # stopped on request; the same command goes on


class UserError(Exception):
    """What the user can put right: printed as one message, no traceback."""

    def __init__(self, exit_code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def _help_text(usage: str, values: flags.FlagValues) -> str:
    lines = [usage.strip(), "", "Flags:"]
    for name in sorted(values):
        flag = values[name]
        shown = "" if flag.default is None else f" (default: {flag.default})"
        lines.append(f"  --{name}: {flag.help}{shown}")
    return "\n".join(lines)


def given(values: flags.FlagValues) -> tuple[str, ...]:
    """Returns the flags that a command was given, in order of their names."""
    return tuple(
        line
        for name in sorted(values)
        if values[name].present and name == values[name].name
        for line in values[name].serialize().splitlines()
    )


def environment() -> dict[str, str]:
    """Returns the environment, for code that must not read it itself."""
    return dict(os.environ)


def silence_libraries() -> None:
    """Keeps what libraries print at every start from the user's screen.

    TensorFlow's own level must be set before it is imported. What goes wrong
    in it is raised, and what a user can change is checked by our own code.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", module=r"google\.|tensorflow_addons")


def _set_positional(values: flags.FlagValues, name: str, given: str) -> None:
    if values[name].present:
        raise UserError(
            ExitCode.USAGE,
            f"{given!r} and --{name}={values[name].value} say the same thing."
            " Give one of them.",
        )
    values[name].parse(given)


def _give_up_output() -> None:
    """Keeps what cannot be printed from a second error at the end."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _leave(number: int, _: types.FrameType | None) -> None:
    if os.getpid() != 1:  # a process that this one forked
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    # Another one would come while the first is on its way out.
    signal.signal(number, signal.SIG_IGN)
    raise UserError(
        ExitCode.STOPPED,
        "Stopped on request (SIGTERM). The same command goes on, or starts"
        " afresh where nothing is kept.",
    )


def _hear_the_container() -> None:
    """Lets SIGTERM end a container's first process, with the code for a stop.

    The system drops a signal that the first process has no handler for, and
    `docker stop` would wait for nothing. Commands that have something to save
    put handlers of their own in this one's place. One that came earlier was
    held back by docker/entrypoint.py.
    """
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _leave)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def run(
    main: Callable[[flags.FlagValues], None],
    values: flags.FlagValues,
    usage: str,
    argv: Sequence[str] | None = None,
    positional: str | None = None,
) -> int:
    """Runs a command and returns its exit code.

    Args:
      main: the command; it gets the parsed flags and raises UserError.
      values: the command's flags, not yet parsed.
      usage: the text before the list of flags in --help.
      argv: program name and arguments; sys.argv if None.
      positional: the flag that an argument without a flag's name sets; without
        one such an argument is an error.
    """
    args = list(sys.argv if argv is None else argv)
    if {"--help", "-help", "-h", "--helpfull", "-?"} & set(args[1:]):
        print(_help_text(usage, values))
        return ExitCode.DONE
    values.unparse_flags()
    try:
        _hear_the_container()
        rest = values(args)[1:]
        if rest and positional is not None:
            _set_positional(values, positional, rest.pop(0))
        if rest:
            raise UserError(
                ExitCode.USAGE,
                f"Unexpected argument {rest[0]!r}: all options are flags"
                " (--name=value). See --help.",
            )
        silence_libraries()
        main(values)
    except flags.Error as error:
        print(f"error: {error} See --help.", file=sys.stderr)
        return ExitCode.USAGE
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        # What nobody foresaw, as the output itself sent to a full disk.
        print(
            f"error: {error}. Make room and give the same command.",
            file=sys.stderr,
        )
        _give_up_output()
        return ExitCode.DISK
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return ExitCode.DONE
