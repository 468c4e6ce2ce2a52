"""Images or videos in a zip or tar archive, read in place: nothing is ever extracted to the disk."""

import os
import tarfile
import zipfile
import zlib
from pathlib import Path

from craik.data.listing import IMAGES, Entry, Medium, Source, from_listing, list_files
from craik.errors import UsageError

MAX_UNPACKED = 4 << 30  # a compressed tar can only be read front to back, so its files are held in memory [bytes]
MAX_MEMBER = 1 << 30  # a file larger than this when unpacked is a bomb [bytes]


def open_zip(path: Path, name: str, split: str | None, medium: Medium = IMAGES) -> Source:
    """Lists the files of a medium in a zip archive.

    Raises:
        UsageError: not a zip archive; no such file in it; no such split.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UsageError(f"{name}: not a readable zip archive ({error}). Download or pack it again.") from None
    members = [member for member in archive.infolist() if not member.is_dir()]
    entries = [Entry(m.filename.lstrip("/"), m.file_size, key, m.CRC) for key, m in enumerate(members)]

    def read(entry: Entry) -> bytes:
        member = members[entry.key]
        if member.file_size > MAX_MEMBER:
            return b""
        try:
            return archive.read(member)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError):
            return b""  # damaged or encrypted member: counted as an empty file

    listing = list_files(entries, lambda e: read(e)[:16], medium)
    return from_listing(name, listing, read, _identity(path), split)


def open_tar(path: Path, name: str, split: str | None, medium: Medium = IMAGES) -> Source:
    """Lists the files of a medium in a tar archive; one that is compressed is held in memory.

    Links, devices and names that lead out of the archive are never followed, as only bytes are read.

    Raises:
        UsageError: not a tar archive; too large when unpacked; no such file in it; no such split.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members = [member for member in archive if member.isreg()]
        return _plain_tar(path, name, split, members, medium)
    except tarfile.ReadError:
        return _packed_tar(path, name, split, medium)
    except OSError as error:
        raise UsageError(f"{name}: cannot be read ({error}).") from None


def _entries(members: list[tarfile.TarInfo]) -> list[Entry]:
    return [Entry(m.name.removeprefix("./").lstrip("/"), m.size, key, int(m.mtime)) for key, m in enumerate(members)]


def _plain_tar(path: Path, name: str, split: str | None, members: list[tarfile.TarInfo], medium: Medium) -> Source:
    def read(entry: Entry) -> bytes:
        member = members[entry.key]
        with open(path, "rb") as file:
            file.seek(member.offset_data)
            return file.read(min(member.size, MAX_MEMBER))

    listing = list_files(_entries(members), lambda e: read(e)[:16], medium)
    return from_listing(name, listing, read, _identity(path), split)


def _packed_tar(path: Path, name: str, split: str | None, medium: Medium) -> Source:
    members, contents, total = [], [], 0
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if not member.isreg():
                    continue
                suffix = os.path.splitext(member.name)[1].lower()
                wanted = suffix in medium.suffixes | IMAGES.suffixes or not suffix
                total += member.size if wanted else 0
                if total > MAX_UNPACKED:
                    raise UsageError(f"{name}: over {MAX_UNPACKED >> 30} GB unpacked. Unpack it first: gunzip {path}")
                stream = archive.extractfile(member) if wanted else None
                contents.append(stream.read() if stream else b"")
                members.append(member)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{name}: not a readable tar archive ({error}). Download or pack it again.") from None
    listing = list_files(_entries(members), lambda e: contents[e.key][:16], medium)
    return from_listing(name, listing, lambda e: contents[e.key], _identity(path), split)


def _identity(path: Path) -> str:
    status = path.stat()
    return f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
