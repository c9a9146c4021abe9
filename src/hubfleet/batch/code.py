"""The code that a user attaches: one zip file, checked here, cut into parts that a ConfigMap holds.

It is checked before anything is created, so that the user hears at once what is wrong with it; the pod checks
the joined parts again by their SHA-256.
"""

import base64
import binascii
import hashlib
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from importlib import resources

import msgspec

from hubfleet.batch.wire import Path, problem
from hubfleet.errors import UserError

PART_BYTES = 1_000_000
"""A ConfigMap holds 1 MiB (2**20 bytes) in all its values; the rest is slack."""

MAX_MEMBERS = 10_000
"""Of one zip file. Reading the directory costs 10 microseconds and half a KiB for each, before we see any."""

MAX_DIRECTORY = 4 * 2**20
"""Bytes of the directory as its end says: names of some 350 characters for the most members that may be."""

PIECE = 256 * 1024
"""Characters of base64, or bytes, that are worked on in one call; a multiple of 4."""

_MEMBER = b"PK\x01\x02"
_HEADER = struct.Struct("<4s24xHHH12x")  # of a member in the directory: signature, lengths of what follows
_MAX_EXTRA_WORK = 2**34  # of all extra fields, the sum of their squared lengths: zipfile's time for them

UNPACKERS = {
    name: resources.files(__package__).joinpath(name).read_text() for name in ("unpack.sh", "unpack.py")
}
"""What runs in the init container; travels in the ConfigMap with the code, so that the Job stays small."""


class Code(msgspec.Struct, frozen=True):
    """A checked zip file. `unpacked` is what its members say that they are together, in bytes."""

    data: bytes
    sha256: str
    unpacked: int

    def parts(self) -> list[str]:
        """Base64 of each part, in order, as a ConfigMap's binaryData wants it."""
        return [
            base64.b64encode(self.data[start : start + PART_BYTES]).decode("ascii")
            for start in range(0, len(self.data), PART_BYTES)
        ]


def decode(text: str, path: Path, *, limit: int, unpacked_limit: int) -> Code:
    """Check base64 and zip. Raises UserError 413 over a limit (bytes), 422 for all else, with the member."""
    if len(text) * 3 // 4 - 2 > limit:
        raise UserError(413, f"the code is larger than {_size(limit)}, which is the limit for its zip file")
    try:
        data = _from_base64(text)
    except (binascii.Error, ValueError) as e:
        raise _refused(path, f"is not base64: {e}") from None
    if len(data) > limit:
        raise UserError(413, f"the code is larger than {_size(limit)}, which is the limit for its zip file")
    return Code(data, hashlib.sha256(data).hexdigest(), _checked(data, path, unpacked_limit))


def _from_base64(text: str) -> bytes:
    """In pieces: one call for all of it would stop the whole process for a tenth of a second."""
    data = bytearray()
    for start in range(0, len(text), PIECE):
        piece = text[start : start + PIECE]
        data += binascii.a2b_base64(piece, strict_mode=True)
        if piece.endswith("=") and start + PIECE < len(text):
            raise binascii.Error("Excess data after padding")
    return bytes(data)


def _signatures(data: bytes) -> Iterator[int]:
    """Where members are in what may be a directory; looked for in pieces, as `_from_base64`."""
    for start in range(0, len(data), PIECE):
        at = start
        while (at := data.find(_MEMBER, at, start + PIECE + len(_MEMBER) - 1)) >= 0:
            yield at
            at += len(_MEMBER)


def _checked(data: bytes, path: Path, unpacked_limit: int) -> int:
    _check_directory(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, NotImplementedError) as e:
        # ValueError and the others: what zipfile raises for offsets and names that make no sense.
        raise _refused(path, f"is not a zip file: {e}") from None
    for member in members:
        if message := _wrong(member):
            raise _refused(path, f"member {member.filename[:200]!r} {message}")
    unpacked = sum(member.file_size for member in members)
    if unpacked > unpacked_limit:
        raise UserError(
            413, f"the code would unpack to {_size(unpacked)}; the limit is {_size(unpacked_limit)}"
        )
    return unpacked


def _check_directory(data: bytes) -> None:
    """Raises UserError 413 for a directory that would cost too much to read.

    What its end says of it is the writer's word, and where it begins depends on the reader. So members
    are counted where none can hide: each has this signature. (Those of a zip file that is stored in this one,
    without compression, count as well.)
    """
    work = 0
    for count, at in enumerate(_signatures(data), 1):
        if at <= len(data) - _HEADER.size:
            work += _HEADER.unpack_from(data, at)[2] ** 2
        if count > MAX_MEMBERS:
            raise UserError(413, f"the code has more than {MAX_MEMBERS} files, the limit for a zip file")
    size = _directory_size(data)
    if size > MAX_DIRECTORY:
        raise UserError(
            413,
            f"the code's list of files has {_size(size)}; the limit is {_size(MAX_DIRECTORY)}: shorten names",
        )
    if work > _MAX_EXTRA_WORK:
        raise UserError(413, "the code's zip file has too much beside its files (extra fields)")


def _directory_size(data: bytes) -> int:
    """Bytes of the central directory, as its end record says, or zip64's; 0 where there is none.

    The fields are those of PKWARE's APPNOTE.TXT, 4.3.14 to 4.3.16.
    """
    end = data.rfind(b"PK\x05\x06", max(0, len(data) - 2**16 - 22))
    if end < 0 or end + 22 > len(data):
        return 0
    size = int.from_bytes(data[end + 12 : end + 16], "little")
    wide = end - 20 - 56
    if wide >= 0 and data[end - 20 : end - 16] == b"PK\x06\x07" and data[wide : wide + 4] == b"PK\x06\x06":
        size = max(size if size != 2**32 - 1 else 0, int.from_bytes(data[wide + 40 : wide + 48], "little"))
    return min(size, len(data))


def _wrong(member: zipfile.ZipInfo) -> str:
    # zipfile turns "\" into "/" only where that is the separator: look at both everywhere.
    parts = member.filename.replace("\\", "/").split("/")
    if ".." in parts:
        return "climbs out of the folder with '..'"
    if parts[0] == "" or (len(parts[0]) > 1 and parts[0][1] == ":"):
        return "has an absolute path"
    if member.flag_bits & 0x1:
        return "is encrypted"
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a symbolic link or a special file"
    return ""


def _refused(path: Path, message: str) -> UserError:
    return UserError(422, [problem(path, f"the code {message}")])


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count} bytes"
