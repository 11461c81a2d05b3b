"""Stands in for `gcloud storage`: buckets are folders.

From the environment: FAKE_BUCKETS, a folder; FAKE_LEFT, a file with the number
of objects that may still be written or removed before this process and the
script that called it are ended, as on a machine that is taken away;
FAKE_HISTORY, a folder that gets a copy of the buckets as they were before each
such change.

Started as a program: standard library only, and of that as little as possible.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys


def _path(url: str) -> str:
    return url.replace("gs://", os.environ["FAKE_BUCKETS"] + "/").rstrip("/")


def _url(path: str) -> str:
    return path.replace(os.environ["FAKE_BUCKETS"] + "/", "gs://")


def _files(folder: str) -> list[str]:
    """Returns the files below a folder, in the order that is worst to copy.

    The other way round it is the worst to remove.
    """
    found = [
        os.path.join(place, name)
        for place, _, names in os.walk(folder)
        for name in names
    ]
    return sorted(found, key=lambda p: (not p.endswith("meta.json"), p))


def _before_a_change() -> None:
    history = os.environ.get("FAKE_HISTORY")
    if history is not None:
        state = os.path.join(history, f"{len(os.listdir(history)):03}")
        shutil.copytree(os.environ["FAKE_BUCKETS"], state)
    counter = os.environ.get("FAKE_LEFT")
    if counter is None:
        return
    with open(counter) as file:
        left = int(file.read())
    if left == 0:
        # The script too: the whole machine is gone.
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    with open(counter, "w") as file:
        file.write(str(left - 1))


def _copy(source: str, target: str) -> None:
    _before_a_change()
    os.makedirs(os.path.dirname(target), exist_ok=True)
    shutil.copyfile(source, target)


def _remove(path: str) -> None:
    _before_a_change()
    os.remove(path)


def _rsync(source: str, target: str, flags: dict[str, str]) -> None:
    wanted = [os.path.relpath(p, source) for p in _files(source)]
    pattern = flags.get("--exclude")
    for name in wanted:
        if pattern and re.match(pattern, name):
            continue
        old, new = os.path.join(target, name), os.path.join(source, name)
        if not os.path.exists(old) or _content(old) != _content(new):
            _copy(new, old)
    if "--delete-unmatched-destination-objects" in flags:
        for path in _files(target):
            if os.path.relpath(path, target) not in wanted:
                _remove(path)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _list(url: str) -> list[str]:
    """Returns objects and prefixes, as `gcloud storage ls` does."""
    if "*" in url:
        form = re.compile(re.escape(_path(url)).replace(r"\*", "[^/]*"))
        top = _path(url[: url.index("*")])
        return [_url(p) for p in _files(top) if form.fullmatch(p)]
    found = set()
    top = _path(url)
    for path in _files(top):
        first, *rest = os.path.relpath(path, top).split("/")
        found.add(f"{_url(top)}/{first}{'/' if rest else ''}")
    return sorted(found)


def storage(words: list[str], flags: dict[str, str]) -> int:
    """Does what a `gcloud storage` command does; returns its exit code."""
    verb, *urls = words
    if verb == "rsync":
        _rsync(_path(urls[0]), _path(urls[1]), flags)
    elif verb == "ls":
        found = _list(urls[0])
        if not found:
            print("ERROR: matched no objects.", file=sys.stderr)
            return 1
        print("\n".join(found))
    elif verb == "cp":
        # --if-generation-match=0
        if os.path.exists(_path(urls[1])):
            return 1
        _copy(_path(urls[0]), _path(urls[1]))
    elif verb == "cat":
        if not os.path.exists(_path(urls[0])):
            return 1
        sys.stdout.buffer.write(_content(_path(urls[0])))
    elif verb == "rm":
        for url in urls:
            _remove(_path(url))
    return 0


def main(arguments: list[str]) -> int:
    """Does a call of gcloud; only those of storage do anything."""
    if arguments[0] != "storage":
        return 0
    words = [a for a in arguments[1:] if not a.startswith("--")]
    pairs = (a.partition("=") for a in arguments if a.startswith("--"))
    return storage(words, {name: value for name, _, value in pairs})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
