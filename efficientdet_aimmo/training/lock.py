"""One run at a time in a folder.

On this machine the system locks a file and lets go of it however the process
ends. An object store knows no locks: there a run writes an object that says who
it is, and writes it anew every INTERVAL_S. Who finds such an object watches
whether it changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import pathlib
import socket
import threading
import uuid
from collections.abc import Iterator

from efficientdet_aimmo import whole
from tfrecord_tools import command, storage

NAME = ".lock"

# Between two refreshments. A run that was killed on another machine costs the
# next one a wait of this and SLACK_S; a store takes one write a second.
INTERVAL_S = 30.0
SLACK_S = 15.0  # a slow store; TensorFlow also keeps an object's size for 5 s
_SETTLE_S = 3.0  # in which two runs that start at once see each other

_PROC = pathlib.Path("/proc")

# The locks of this process, by folder, as the system knows the local ones.
_held: dict[str, _Lease] = {}


@dataclasses.dataclass(frozen=True)
class Holder:
    """What a lock object says of the run that holds a folder.

    Attributes:
      token: drawn for the run.
      host: the machine's name.
      space: where its process number counts: boot and container.
      pid: process number.
      started: time of the run's start, UTC.
      count: refreshments so far; of fixed width, as a store may report the
        size of the object before.
      interval_s: between two refreshments.
    """

    token: str
    host: str
    space: str
    pid: int
    started: str
    count: str
    interval_s: float

    def is_dead(self) -> bool:
        """Returns whether its process is known to have ended."""
        if (self.host, self.space) != (socket.gethostname(), _space()):
            return False
        if self.pid == os.getpid():
            return self.token not in [h.me.token for h in _held.values()]
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's, but alive
            return False
        return False

    def describe(self) -> str:
        """Returns who it is."""
        return f"process {self.pid} on {self.host}, started {self.started} UTC"


def _space() -> str:
    """Returns what tells apart boots and containers of one host name."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:  # no Linux: process numbers are not compared
        return uuid.uuid4().hex


@contextlib.contextmanager
def held(folder: str) -> Iterator[None]:
    """Holds a folder, which is there, for this run.

    Raises:
      UserError: another run holds it.
      OSError: the lock cannot be written.
    """
    with _lease(folder) if storage.is_remote(folder) else _flock(folder):
        yield


def check_free(folder: str) -> None:
    """Raises UserError if another run holds a folder; writes nothing.

    Raises:
      OSError: the lock cannot be read, or not be written by a run.
    """
    if storage.is_remote(folder):
        _wait_for_holder(folder, storage.join(folder, NAME))
        return
    try:
        lock = os.open(os.path.join(folder, NAME), os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        _take(lock, folder)
    finally:
        os.close(lock)


def check(folder: str) -> None:
    """Raises UserError if another run has taken a folder of this one over.

    That happens where a machine stands still for longer than INTERVAL_S.
    """
    lease = _held.get(folder)
    if lease is not None and lease.taken_by is not None:
        raise command.UserError(
            command.ExitCode.EXISTS,
            f"--model_dir={folder} was taken over by another run"
            f" ({lease.taken_by.describe()}), because this one had not"
            f" refreshed {NAME} for {INTERVAL_S:g} s. This one ends; what it"
            " had saved is whole.",
        )


def _in_use(folder: str, who: str) -> command.UserError:
    return command.UserError(
        command.ExitCode.EXISTS,
        f"--model_dir={folder} is in use by another run{who}. Wait for it, or"
        " choose another folder.",
    )


@contextlib.contextmanager
def _flock(folder: str) -> Iterator[None]:
    lock = os.open(os.path.join(folder, NAME), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _take(lock, folder)
        yield
    finally:
        os.close(lock)


def _take(lock: int, folder: str) -> None:
    """Locks an open file; raises UserError if another run has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        raise _in_use(folder, "") from error


@contextlib.contextmanager
def _lease(folder: str) -> Iterator[None]:
    path = storage.join(folder, NAME)
    gone = _wait_for_holder(folder, path)
    if gone:
        print(f"Taking over {folder}{gone}.", flush=True)
    lease = _Lease(path)
    lease.refresh()
    _pause(_SETTLE_S)
    lease.refresh()
    if lease.taken_by is not None:
        raise _in_use(folder, f" ({lease.taken_by.describe()})")
    _held[folder] = lease
    thread = threading.Thread(target=lease.refresh_until_stopped, daemon=True)
    thread.start()
    try:
        yield
    finally:
        lease.stop.set()
        thread.join()
        del _held[folder]
        lease.give_up()


class _Lease:
    """This run's lock object.

    Attributes:
      me: what it says, but for the count.
      taken_by: another run whose object is in its place.
      stop: ends the refreshments.
    """

    def __init__(self, path: str) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        self._path = path
        self._count = 0
        self.me = Holder(
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            space=_space(),
            pid=os.getpid(),
            started=f"{now:%Y-%m-%d %H:%M:%S}",
            count="",
            interval_s=INTERVAL_S,
        )
        self.taken_by: Holder | None = None
        self.stop = threading.Event()

    def refresh(self) -> None:
        """Writes the object anew, unless another run's is in its place.

        Raises:
          OSError: the store cannot be reached.
        """
        found = _read(self._path) if self._count else None
        if found is not None and found.token != self.me.token:
            self.taken_by = found
            return
        me = dataclasses.replace(self.me, count=f"{self._count:012}")
        self._count += 1
        content = json.dumps(dataclasses.asdict(me)) + "\n"
        whole.write_file(self._path, content.encode())

    def refresh_until_stopped(self) -> None:
        """Refreshes every INTERVAL_S; for a thread."""
        while not self.stop.wait(INTERVAL_S) and self.taken_by is None:
            try:
                self.refresh()
            except OSError as error:
                print(
                    f"warning: {self._path} cannot be refreshed"
                    f" ({error.strerror}); the next try is in {INTERVAL_S:g} s."
                    " Meanwhile another run may take the folder over.",
                    flush=True,
                )

    def give_up(self) -> None:
        """Removes the object if it is this run's."""
        try:
            found = _read(self._path)
            if found is not None and found.token == self.me.token:
                storage.remove(self._path)
        except OSError as error:
            print(
                f"warning: {self._path} cannot be removed ({error.strerror});"
                " the next run here will watch it first.",
                flush=True,
            )


def _read(path: str) -> Holder | None:
    """Returns what a lock object says, None without one.

    One that cannot be understood is somebody's who is not known.
    """
    try:
        content = storage.read_bytes(path)
    except FileNotFoundError:
        return None
    try:
        return Holder(**json.loads(content))
    except (ValueError, TypeError):
        text = content.decode("utf-8", "replace")
        return Holder("", "an unknown host", "", 0, text, "", INTERVAL_S)


def _wait_for_holder(folder: str, path: str) -> str:
    """Returns when no other run holds a folder, and why none does any more.

    The reason is empty where none did.

    Raises:
      UserError: another one does.
    """
    found = _read(path)
    if found is None:
        return ""
    if found.is_dead():
        return f" from {found.describe()}, which has ended"
    wait_s = found.interval_s + SLACK_S
    print(
        f"{folder} is held by {found.describe()}. Watching for {wait_s:g} s"
        " whether it is alive: a live run refreshes its lock every"
        f" {found.interval_s:g} s.",
        flush=True,
    )
    _pause(wait_s)
    now = _read(path)
    if now is not None and now != found:
        raise _in_use(folder, f" ({now.describe()})")
    return f": its lock was not refreshed in {wait_s:g} s"


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
