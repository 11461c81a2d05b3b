"""Who is asked whether to stop, and what is made of the answers."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from efficientdet_aimmo.training import stopping
from hparams import config as config_lib
from tests.training import metadata_server
from tfrecord_tools import command

Answer = metadata_server.Answer
AUTO = config_lib.Runtime()
OFF = config_lib.Runtime(preemption_notice="off")
PATH = "/computeMetadata/v1/instance/preempted?wait_for_change=true&last_etag="
MOST_S = 20.0  # for what must come; it comes in milliseconds


@pytest.fixture(autouse=True)
def handler_as_before() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) == handler


class Seen(NamedTuple):
    """What a watch did until it gave notice."""

    asked: list[str]  # the questions' last_etag
    said: list[str]
    pauses: list[float]
    notices: list[str]


def _watch(*answers: Answer) -> Seen:
    """Watches in this thread; the last answer must be TRUE.

    The server's address is HOST in what is said.
    """
    seen = Seen([], [], [], [])
    with metadata_server.running(*answers) as server:
        watch = stopping.PreemptionWatch(
            server.host,
            lambda: seen.notices.append("preempted"),
            lambda text: seen.said.append(text.replace(server.host, "HOST")),
        )

        def pause(seconds: float) -> None:
            seen.pauses.append(seconds)
            if len(seen.pauses) > 20:  # it will not give notice any more
                watch.close()

        watch.pause = pause  # type: ignore[method-assign]
        watch.run()
    for path, flavour in server.asked:
        assert path.startswith(PATH)
        assert flavour == "Google"
        seen.asked.append(path.removeprefix(PATH))
    assert seen.notices == ["preempted"]
    return seen


# Who is asked.


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> pathlib.Path:
    """Returns the root of a Google Compute Engine machine."""
    folder = tmp_path / "sys/class/dmi/id"
    folder.mkdir(parents=True)
    (folder / "product_name").write_text("Google Compute Engine\n")
    return tmp_path


def test_a_machine_of_google_is_asked_where_it_documents(
    machine: pathlib.Path,
) -> None:
    host = stopping.notice_host(AUTO, {}, str(machine))
    assert host == "metadata.google.internal"
    assert stopping.notice_host(OFF, {}, str(machine)) is None


@pytest.mark.parametrize("product", [b"KVM\n", b"Google Pixelbook\n", b"\xff"])
def test_another_machine_asks_nobody(
    machine: pathlib.Path, product: bytes
) -> None:
    (machine / "sys/class/dmi/id/product_name").write_bytes(product)
    assert stopping.notice_host(AUTO, {}, str(machine)) is None


def test_a_machine_without_a_name_asks_nobody(tmp_path: pathlib.Path) -> None:
    empty = {"GCE_METADATA_HOST": ""}
    assert stopping.notice_host(AUTO, empty, str(tmp_path)) is None
    assert stopping.describe(None) == "SIGTERM"


@pytest.mark.parametrize("host", ["10.0.0.1:8080", "metadata", "[fd00::1]:80"])
def test_the_environment_says_who_is_asked(
    machine: pathlib.Path, host: str
) -> None:
    given = {"GCE_METADATA_HOST": host}
    assert stopping.notice_host(AUTO, given, str(machine)) == host
    assert stopping.notice_host(OFF, given, str(machine)) is None
    assert stopping.describe(host) == (
        f"SIGTERM, and Google Cloud's preemption notice from {host}"
    )


@pytest.mark.parametrize("host", ["http://metadata", "a b", "host/x", "h:port"])
def test_what_is_no_host_is_refused(tmp_path: pathlib.Path, host: str) -> None:
    given = {"GCE_METADATA_HOST": host}
    with pytest.raises(command.UserError) as caught:
        stopping.notice_host(AUTO, given, str(tmp_path))
    assert int(caught.value.exit_code) == 64
    assert str(caught.value).startswith(
        f"GCE_METADATA_HOST is {host!r}, expected HOST or HOST:PORT"
    )


# What is made of the answers.


def test_a_machine_that_is_preempted_already_says_so_at_once() -> None:
    assert _watch(Answer("TRUE")) == (["0"], [], [], ["preempted"])


def test_a_change_is_waited_for() -> None:
    seen = _watch(Answer("FALSE\n", "tag 1"), Answer("TRUE", "tag2"))
    assert seen.asked == ["0", "tag%201"]
    assert (seen.said, seen.pauses) == ([], [])


def test_a_server_that_does_not_wait_is_asked_with_pauses() -> None:
    again = Answer("FALSE", "x")
    seen = _watch(Answer("FALSE"), again, again, Answer("TRUE"))
    assert seen.asked == ["0", "0", "x", "x"]
    assert seen.pauses == [1.0, 1.0]
    assert seen.said == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Answer("late", status=503), "HTTP status 503"),
        (Answer("<html>"), "it answers '<HTML>', expected TRUE or FALSE"),
        (Answer(""), "it answers '', expected TRUE or FALSE"),
        (metadata_server.NOT_HTTP, "SSH-2.0"),
        (metadata_server.GONE, "Remote end closed connection"),
    ],
)
def test_a_fault_is_said_once_and_the_question_put_again(
    fault: Answer, reason: str
) -> None:
    seen = _watch(*[fault] * 6, Answer("FALSE", "x"), fault, Answer("TRUE"))
    assert seen.asked == ["0"] * 7 + ["x"] * 2
    # Doubled up to a limit, and from the start after an answer.
    assert seen.pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 1.0]
    warning, end, again, end_again = seen.said
    assert again == warning
    assert warning.startswith("warning: HOST gives no preemption notice (")
    assert reason in warning
    assert "--preemption_notice=off" in warning
    assert end == end_again == "HOST answers: preemption notices are read."


def test_a_question_without_an_answer_is_put_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "READ_TIMEOUT_S", 0.05)
    seen = _watch(metadata_server.HANG, metadata_server.HANG, Answer("TRUE"))
    assert seen.asked[-1] == "0"
    assert (seen.said, seen.pauses) == ([], [])


def test_a_server_that_is_not_there_is_said_and_asked_again() -> None:
    with socket.socket() as held:  # bound, and not listening
        held.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{held.getsockname()[1]}"
        said: list[str] = []
        watch = stopping.PreemptionWatch(host, said.clear, said.append)
        pauses: list[float] = []

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                watch.close()

        watch.pause = pause  # type: ignore[method-assign]
        watch.run()
    assert pauses == [1.0, 2.0, 4.0]
    (warning,) = said
    assert "Connection refused" in warning


def test_no_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert _watch(Answer("TRUE")).said == []


# What a run learns of it.


def test_a_signal_asks_once_and_for_good() -> None:
    request = stopping.StopRequest(None, print)
    assert not request.is_set
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    assert request.is_set
    error = request.error(7)
    assert int(error.exit_code) == 75
    assert str(error) == (
        "Stopped on request (SIGTERM) after step 7, which is saved. The same"
        " command goes on."
    )
    request.close()


def test_a_notice_asks_from_another_thread() -> None:
    before = set(threading.enumerate())
    with metadata_server.running(Answer("TRUE", is_delayed=True)) as server:
        request = stopping.StopRequest(server.host, print)
        (watch,) = (
            thread
            for thread in set(threading.enumerate()) - before
            if thread.name == "preemption-watch"
        )
        assert watch.daemon  # it does not hold up the end of the process
        assert not request.is_set
        server.release.set()
        watch.join(MOST_S)
        assert request.is_set
        os.kill(os.getpid(), signal.SIGTERM)  # changes no reason
        assert "because Google Cloud takes the machine back" in str(
            request.error(7)
        )
        request.close()


def test_a_notice_after_the_end_is_nobodys() -> None:
    noticed: list[bool] = []
    with metadata_server.running(Answer("TRUE", is_delayed=True)) as server:
        watch = stopping.PreemptionWatch(
            server.host, lambda: noticed.append(True), print
        )
        watch.start()
        watch.close()
        server.release.set()
        watch.join(MOST_S)
        assert not watch.is_alive()
    assert noticed == []


def test_what_has_nothing_to_save_is_left_at_once() -> None:
    def begin() -> None:
        with stopping.leave_at_once():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                pytest.fail("went on")
            finally:
                # On the way out nothing can come in between.
                os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(command.UserError) as caught:
        begin()
    assert int(caught.value.exit_code) == 75
    assert "where nothing was to be saved" in str(caught.value)
    assert caught.value.__context__ is None  # the second changed nothing


def test_a_request_takes_over_and_gives_back() -> None:
    with stopping.leave_at_once():
        handler = signal.getsignal(signal.SIGTERM)
        request = stopping.StopRequest(None, print)
        os.kill(os.getpid(), signal.SIGTERM)
        request.close()
        assert signal.getsignal(signal.SIGTERM) == handler
