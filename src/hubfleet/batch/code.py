"""The code that a user attaches: one zip file, checked here, cut into parts that a ConfigMap holds.

It is checked before anything is created, so that the user hears at once what is wrong with it; the pod checks
the joined parts again by their SHA-256.
"""

import base64
import binascii
import hashlib
import io
import stat
import zipfile
import zlib
from importlib import resources

import msgspec

from hubfleet.batch.wire import Path, problem
from hubfleet.errors import UserError

PART_BYTES = 1_000_000
"""A ConfigMap holds 1 MiB (2**20 bytes) in all its values; the rest is slack."""

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
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise _refused(path, f"is not base64: {e}") from None
    if len(data) > limit:
        raise UserError(413, f"the code is larger than {_size(limit)}, which is the limit for its zip file")
    return Code(data, hashlib.sha256(data).hexdigest(), _checked(data, path, unpacked_limit))


def _checked(data: bytes, path: Path, unpacked_limit: int) -> int:
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
