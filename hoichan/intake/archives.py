"""ZIP archives from outside: their files one after another, and nothing else of them.

Nothing is ever written under a name of the archive. Before the first file comes out, the whole table of
contents is judged: an archive that would unpack to too much, is encrypted, or holds paths that lead out of it
is refused as a whole, because whoever made it did not mean well or cannot be read anyway.
"""

from __future__ import annotations

import errno
import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from hoichan.errors import ArchiveRefused

MAXIMUM_FILES = 50_000  # of one archive; a CD of a CT study has 2,000
MAXIMUM_RATIO = 200  # of an archive larger than the next line; pixels of films shrink by 2 to 10
SMALL_ENOUGH = 64 * 1024**2  # bytes; below this no ratio is a danger
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
_ENCRYPTED = 0x1
_BROKEN = (
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
    RuntimeError, ValueError, IndexError, UnicodeDecodeError, OverflowError,
)  # fmt: skip


def is_zip(start: bytes) -> bool:
    """Whether a file that begins with these four bytes is a ZIP archive, or an empty one."""
    return start[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def unpack(archive: BinaryIO, *, maximum_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Name and content of every file in the archive, in its order.

    The name is for telling somebody which file it was; it must never become a path or a log line.
    `maximum_bytes`: what everything together may unpack to. Raises ArchiveRefused, before the first file
    where the table of contents is the reason, later where a file is damaged; those before it are good.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            _judge(entries, maximum_bytes)
            for entry in entries:
                with opened.open(entry) as file:
                    content = file.read(entry.file_size + 1)
                if len(content) != entry.file_size:
                    raise ArchiveRefused("damaged")
                yield entry.filename, content
    except _BROKEN as error:
        raise ArchiveRefused("damaged") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place before the start of the file; all else is the disk
            raise
        raise ArchiveRefused("damaged") from error


def _judge(entries: list[zipfile.ZipInfo], maximum_bytes: int) -> None:
    if len(entries) > MAXIMUM_FILES:
        raise ArchiveRefused("too_many_files")
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        drive = len(entry.filename) > 1 and entry.filename[1] == ":"
        if path.is_absolute() or ".." in path.parts or drive or "\0" in entry.orig_filename:
            raise ArchiveRefused("unsafe_path")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ArchiveRefused("unsafe_path")
        if entry.flag_bits & _ENCRYPTED:
            raise ArchiveRefused("encrypted")
        if entry.compress_type not in _METHODS:
            raise ArchiveRefused("unsupported_compression")
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if unpacked > maximum_bytes or (unpacked > SMALL_ENOUGH and unpacked > packed * MAXIMUM_RATIO):
        raise ArchiveRefused("too_large")
