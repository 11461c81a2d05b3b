"""Requests to stop: a signal, or the cloud taking its machine back.

A run notices a request between two steps and between two evaluation batches.
The standard library alone: the command listens before TensorFlow is imported.
"""

from __future__ import annotations

import contextlib
import http.client
import pathlib
import re
import signal
import threading
import types
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping

from hparams import config as config_lib
from tfrecord_tools import command

# https://cloud.google.com/compute/docs/metadata/querying-metadata
_HOST = "metadata.google.internal"
_HOST_VARIABLE = "GCE_METADATA_HOST"  # that of Google's own libraries
_MACHINE = "Google Compute Engine"
_PATH = "/computeMetadata/v1/instance/preempted"
_HOST_FORM = re.compile(r"([A-Za-z0-9._-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?")

# Seconds. An answer comes when the value changes, which may take days, and a
# connection may die unnoticed: after this time the question is put again.
READ_TIMEOUT_S = 60.0
# Between the notice and the machine's end there are 30 s: pauses stay below.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 8.0
_BY_ANOTHER = "because another worker of the run was asked to"
_MOST_BYTES = 64  # of an answer, which is TRUE or FALSE


def notice_host(
    runtime: config_lib.Runtime, environment: Mapping[str, str], root: str
) -> str | None:
    """Returns who is asked for preemption notices, None for nobody.

    Args:
      runtime: says whether notices are wanted.
      environment: the process's environment variables.
      root: the file system's root; "/" but in tests.

    Raises:
      UserError: the environment names something that is no host.
    """
    if runtime.preemption_notice == "off":
        return None
    host = environment.get(_HOST_VARIABLE, "")
    if host:
        if not _HOST_FORM.fullmatch(host):
            raise command.UserError(
                command.ExitCode.USAGE,
                f"{_HOST_VARIABLE} is {host!r}, expected HOST or HOST:PORT of a"
                " metadata server. Correct or unset it, or give"
                " --preemption_notice=off.",
            )
        return host
    product = pathlib.Path(root) / "sys/class/dmi/id/product_name"
    try:
        name = product.read_text(encoding="utf-8", errors="replace")
    except OSError:  # no such machine: a container or board without DMI
        return None
    return _HOST if name.strip() == _MACHINE else None


def describe(host: str | None) -> str:
    """Returns what a run listens to, for the table of the start."""
    if host is None:
        return "SIGTERM"
    return f"SIGTERM, and Google Cloud's preemption notice from {host}"


class PreemptionWatch(threading.Thread):
    """A thread that asks Google Cloud's metadata server and waits.

    It says once when it gets no usable answer, and once when it does again.
    """

    def __init__(
        self,
        host: str,
        on_notice: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        """Prepares the thread; it is a daemon.

        Args:
          host: HOST or HOST:PORT of the metadata server.
          on_notice: called in the thread, once, when the machine is preempted.
          say: called in the thread with warnings.
        """
        super().__init__(name="preemption-watch", daemon=True)
        self._host = host
        self._on_notice = on_notice
        self._say = say
        self._is_closed = threading.Event()
        # The metadata server is on this machine's own link: no proxy knows it.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({})
        )
        # Not the newest value's: the first answer comes at once.
        self._etag = "0"

    def close(self) -> None:
        """Ends the watch; a question under way is left to its timeout."""
        self._is_closed.set()

    def pause(self, seconds: float) -> None:
        """Waits, but no longer than to the end of the watch."""
        self._is_closed.wait(seconds)

    def run(self) -> None:
        """Asks until there is a notice, or the watch is closed."""
        pause_s = FIRST_PAUSE_S
        is_faulty = False
        while not self._is_closed.is_set():
            try:
                answer, is_repeated = self._ask()
            except TimeoutError:
                continue  # nothing has changed
            except (OSError, http.client.HTTPException, ValueError) as error:
                if not is_faulty and not self._is_closed.is_set():
                    self._say(self._fault(error))
                is_faulty = True
                self.pause(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            if is_faulty:
                self._say(f"{self._host} answers: preemption notices are read.")
            pause_s, is_faulty = FIRST_PAUSE_S, False
            if answer == "TRUE":
                if not self._is_closed.is_set():
                    self._on_notice()
                return
            if is_repeated:  # a server that does not wait for a change
                self.pause(FIRST_PAUSE_S)

    def _ask(self) -> tuple[str, bool]:
        """Returns TRUE or FALSE, and whether it is the value known before.

        Raises:
          TimeoutError: no answer yet.
          ValueError: an answer that is neither of the two.
          OSError: no connection, or the server refuses.
          HTTPException: no HTTP.
        """
        tag = urllib.parse.quote(self._etag, safe="")
        request = urllib.request.Request(
            f"http://{self._host}{_PATH}?wait_for_change=true&last_etag={tag}",
            headers={"Metadata-Flavor": "Google"},
        )
        with self._opener.open(request, timeout=READ_TIMEOUT_S) as response:
            text = response.read(_MOST_BYTES)
            etag = response.headers.get("ETag", "")
        answer = text.decode("ascii", "replace").strip().upper()
        if answer not in ("TRUE", "FALSE"):
            raise ValueError(f"it answers {answer!r}, expected TRUE or FALSE")
        is_repeated = etag in ("", self._etag)
        self._etag = etag or self._etag
        return answer, is_repeated

    def _fault(self, error: Exception) -> str:
        reason: object = error
        if isinstance(error, urllib.error.URLError):
            reason = error.reason
        if isinstance(error, urllib.error.HTTPError):
            reason = f"HTTP status {error.code}"
        return (
            f"warning: {self._host} gives no preemption notice ({reason})."
            " It is asked again until it does; SIGTERM stops the run all the"
            " same. To have nobody asked, give --preemption_notice=off."
        )


class StopRequest:
    """Remembers that the run was asked to stop, and why.

    Attributes:
      reason: 'on request (SIGTERM)' or the like, None without a request.
    """

    def __init__(self, host: str | None, say: Callable[[str], None]) -> None:
        """Begins to listen; to be made in the main thread.

        A second SIGTERM is only one more request: what is being saved is saved.

        Args:
          host: who gives preemption notices, None for nobody.
          say: called with warnings, in another thread.
        """
        self.reason: str | None = None
        self._handler = signal.signal(signal.SIGTERM, self._on_signal)
        self._watch: PreemptionWatch | None = None
        if host is not None:
            self._watch = PreemptionWatch(host, self._on_notice, say)
            self._watch.start()

    @property
    def is_set(self) -> bool:
        """Whether the run was asked to stop."""
        return self.reason is not None

    def close(self) -> None:
        """Ends the watch and puts the signal's handler back."""
        if self._watch is not None:
            self._watch.close()
        signal.signal(signal.SIGTERM, _settable(self._handler))

    def error(self, step: int) -> command.UserError:
        """Returns how a run ends whose newest step is saved."""
        return command.UserError(
            command.ExitCode.STOPPED,
            f"Stopped {self.reason or _BY_ANOTHER} after step {step}, which is"
            " saved. The same command goes on.",
        )

    def _on_signal(self, _: int, __: types.FrameType | None) -> None:
        self.reason = self.reason or "on request (SIGTERM)"

    def _on_notice(self) -> None:
        self.reason = self.reason or (
            "because Google Cloud takes the machine back (preemption notice)"
        )


_Handler = (
    Callable[[int, types.FrameType | None], object] | int | signal.Handlers
)


def _settable(handler: _Handler | None) -> _Handler:
    """Returns a handler that can be set: one that is not Python's cannot."""
    return signal.SIG_DFL if handler is None else handler


@contextlib.contextmanager
def leave_at_once() -> Iterator[None]:
    """Lets SIGTERM end what has nothing to save with the code for a stop.

    For the time before the first step and after the last: between them a
    StopRequest listens instead.
    """

    def leave(_: int, __: types.FrameType | None) -> None:
        # Another one would come while the first is on its way out.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise command.UserError(
            command.ExitCode.STOPPED,
            "Stopped on request (SIGTERM) where nothing was to be saved. The"
            " same command goes on.",
        )

    handler = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, _settable(handler))
