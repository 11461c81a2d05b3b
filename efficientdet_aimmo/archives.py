"""Unpacks archives that came from elsewhere and are not trusted."""

from __future__ import annotations

import errno
import gzip
import os
import tarfile
import zlib

# A tar header is 512 bytes, data is copied in small pieces. Only a header of
# a made-up length asks for more than this at once.
_MOST_READ = 16 << 20
_READ_STEP = 1 << 20

# What the file system says of members that contradict each other, or have
# names that it cannot hold: the archive's fault, not the disk's.
_NAME_ERRORS = {
    errno.EEXIST,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
}


class ArchiveError(Exception):
    """An archive, or what was unpacked from it, cannot be used."""


class DamagedArchive(ArchiveError):
    """It is not whole, or not what its name says: another copy may help."""


class HostileArchive(ArchiveError):
    """It would write what an archive of files has no reason to write."""


class _BoundedGzip(gzip.GzipFile):
    """A gzip stream of which at most so many bytes are unpacked."""

    most_bytes = 0

    def _check(self, end: int) -> None:
        if end > self.most_bytes:
            raise HostileArchive(
                f"it unpacks to more than {self.most_bytes} bytes"
            )

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _MOST_READ:
            raise HostileArchive("a header in it has an impossible length")
        self._check(self.tell() + size)
        return super().read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET:
            self._check(offset)
        return super().seek(offset, whence)


def is_supported() -> bool:
    """Returns whether this Python's tarfile can refuse hostile members.

    Its filters came with Python 3.10.12 and 3.11.4.
    """
    return hasattr(tarfile, "data_filter")


def _check_member(member: tarfile.TarInfo) -> None:
    """Refuses whatever is not a file or folder below the target.

    Links are refused altogether, also those that stay inside: nothing that is
    fetched here has any, and tarfile's own filter was led out by them more
    than once.
    """
    name = member.name
    if os.path.isabs(name) or ".." in name.split("/"):
        raise HostileArchive(f"{name!r} in it leads out of its folder")
    if member.issym() or member.islnk():
        raise HostileArchive(f"{name!r} in it is a link to {member.linkname!r}")
    if not (member.isreg() or member.isdir()):
        raise HostileArchive(f"{name!r} in it is neither a file nor a folder")
    if member.size < 0:
        raise HostileArchive(f"{name!r} in it has the size {member.size}")


def _unpack(
    stream: _BoundedGzip, folder: str, most_bytes: int, most_members: int
) -> None:
    # Of all places in the stream the first decides: an empty one is no tar.
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        total = 0
        for number, member in enumerate(tar, start=1):
            if number > most_members:
                raise HostileArchive(f"it has more than {most_members} members")
            _check_member(member)
            total += member.size
            if total > most_bytes:  # a sparse file is larger than its data
                raise HostileArchive(
                    f"it unpacks to more than {most_bytes} bytes"
                )
            tar.extract(member, folder, filter="data")
    # gzip's checksum stands at the end, behind what tar reads.
    while stream.read(_READ_STEP):
        pass


def unpack(
    archive: str, folder: str, *, most_bytes: int, most_members: int
) -> None:
    """Unpacks a .tar.gz into a folder; after an error the folder is waste.

    Args:
      archive: the file.
      folder: an empty folder of the caller's own.
      most_bytes: of the unpacked stream, headers included.
      most_members: files and folders in it.

    Raises:
      DamagedArchive: it is truncated, damaged, no gzip or no tar.
      HostileArchive: a member leads out of the folder, is a link or a device,
        or there is more of it than the limits allow. Nothing was written
        outside the folder.
      OSError: the archive cannot be read or the folder not be written.
    """
    try:
        with _BoundedGzip(archive, "rb") as stream:
            # Room for the headers and the zeros at the end.
            stream.most_bytes = most_bytes + _MOST_READ
            _unpack(stream, folder, most_bytes, most_members)
    except tarfile.FilterError as error:
        raise HostileArchive(str(error)) from error
    except (
        EOFError,
        OverflowError,  # a time that no clock shows
        ValueError,  # a zero byte in a name
        zlib.error,
        gzip.BadGzipFile,
        tarfile.TarError,
    ) as error:
        raise DamagedArchive(
            f"it is no whole .tar.gz: {str(error) or type(error).__name__}"
        ) from error
    except OSError as error:
        if error.errno in _NAME_ERRORS:
            raise DamagedArchive(f"it contradicts itself: {error}") from error
        raise
