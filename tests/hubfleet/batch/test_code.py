"""What code may be attached, and what the init container makes of it."""

import base64
import io
import re
import shutil
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubfleet.batch import code
from hubfleet.batch.code import UNPACKERS, Code
from hubfleet.errors import UserError

LIMITS = {"limit": 1_000_000, "unpacked_limit": 10_000_000}
PATH = ("body", "code")


def archive(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members:
            z.writestr(name, data)
    return buffer.getvalue()


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def refusal(text: str, **limits: int) -> UserError:
    with pytest.raises(UserError) as caught:
        code.decode(text, PATH, **LIMITS | limits)
    return caught.value


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("passwd")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def test_what_is_whole_is_taken() -> None:
    data = archive(("a.py", b"print(1)"), ("folder/", b""), ("folder/b.txt", b"x" * 100))
    found = code.decode(encoded(data), PATH, **LIMITS)
    assert found.data == data
    assert found.unpacked == 108


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("../a.py", "climbs out"),
        ("a/../../b.py", "climbs out"),
        ("..\\a.py", "climbs out"),
        ("/etc/passwd", "absolute"),
        ("\\windows", "absolute"),
        ("C:\\a.py", "absolute"),
        (link(), "symbolic link"),
    ],
)
def test_members_that_leave_the_folder_are_named(member: str | zipfile.ZipInfo, message: str) -> None:
    error = refusal(encoded(archive(("fine.py", b""), (member, b"x"))))
    assert error.status == 422
    assert error.errors[0]["loc"] == list(PATH)
    assert message in error.errors[0]["msg"]


@pytest.mark.parametrize("text", ["", "%%%", "abc", "aGVsbG8=", encoded(archive(("a", b"x"))[:-10])])
def test_what_is_no_zip_file_is_refused(text: str) -> None:
    assert refusal(text).status == 422


def test_limits_are_told_with_their_size() -> None:
    assert refusal(encoded(b"x" * 1_000_001)).status == 413
    bomb = encoded(archive(("zeros", bytes(20_000_000))))
    error = refusal(bomb)
    assert error.status == 413
    assert "19.1 MiB" in str(error)


@settings(max_examples=300, deadline=None)
@given(
    position=st.integers(0, 400), change=st.binary(min_size=1, max_size=8), cut=st.integers(0, 20) | st.none()
)
def test_a_mangled_zip_file_is_refused_or_taken_and_never_a_surprise(
    position: int, change: bytes, cut: int | None
) -> None:
    data = bytearray(archive(("a.py", b"print(1)" * 20), ("b/c.txt", b"x")))
    data[position : position + len(change)] = change
    mangled = bytes(data[: -cut or None]) if cut is not None else bytes(data)
    try:
        found = code.decode(encoded(mangled), PATH, **LIMITS)
    except UserError:
        return  # anything else would be a 500
    assert found.data == mangled


@given(st.binary(max_size=5000))
def test_the_parts_are_the_whole(data: bytes) -> None:
    parts = Code(data, "", 0).parts()
    assert b"".join(base64.b64decode(part) for part in parts) == data


def test_no_part_is_larger_than_a_config_map_holds() -> None:
    parts = Code(bytes(5 * code.PART_BYTES + 1), "", 0).parts()
    assert len(parts) == 6
    scripts = sum(map(len, UNPACKERS.values()))
    assert all(len(base64.b64decode(part)) + scripts <= 2**20 for part in parts)


class Image:
    """A folder that stands for an image: `sh unpack.sh` with the paths of the pod put inside it."""

    def __init__(self, root: Path):
        self.root = root
        self.code = root / "code"
        self.parts = root / "code-parts"
        self.bin = root / "bin"
        for each in (self.code, self.parts, self.bin):
            each.mkdir()
        for name, text in UNPACKERS.items():
            (self.parts / name).write_text(re.sub("/code(-parts)?", lambda path: f"{root}{path[0]}", text))
        for name in ("sh", "cat", "rm", "sha256sum"):
            (self.bin / name).symlink_to(str(shutil.which(name)))

    def has(self, name: str, path: str | None) -> None:
        assert path, f"this machine has no {name}"
        (self.bin / name).write_text(f'#!/bin/sh\nexec {path} "$@"\n')
        (self.bin / name).chmod(0o755)

    def unpack(self, found: Code, sha256: str = "") -> subprocess.CompletedProcess[str]:
        for i, part in enumerate(found.parts()):
            (self.parts / f"part-{i:04d}").write_bytes(base64.b64decode(part))
        return subprocess.run(
            [str(self.bin / "sh"), str(self.parts / "unpack.sh"), sha256 or found.sha256],
            env={"PATH": str(self.bin)},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def image(tmp_path: Path) -> Image:
    # The real paths begin with /code; a folder of that name would be replaced twice.
    root = tmp_path / "image"
    root.mkdir()
    return Image(root)


@pytest.fixture
def project() -> Code:
    script = zipfile.ZipInfo("run.sh")
    script.external_attr = 0o755 << 16
    noise = bytes(range(256)) * 10
    data = archive((script, b"#!/bin/sh\necho hello\n"), ("data/noise.bin", noise))
    return code.decode(encoded(data), PATH, **LIMITS)


def check_unpacked(image: Image) -> None:
    assert (image.code / "data/noise.bin").read_bytes() == bytes(range(256)) * 10
    assert (image.code / "run.sh").stat().st_mode & 0o111
    assert sorted(path.name for path in image.code.iterdir()) == ["data", "run.sh"]


@pytest.mark.parametrize("name", ["python3", "python"])
def test_python_unpacks(image: Image, project: Code, name: str) -> None:
    image.has(name, sys.executable)
    done = image.unpack(project)
    assert done.returncode == 0, done.stderr
    check_unpacked(image)
    assert (image.code / "data/noise.bin").stat().st_mode & 0o777 == 0o666


def test_many_parts_are_joined(image: Image, project: Code, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "PART_BYTES", 100)
    assert len(project.parts()) > 3
    image.has("python3", sys.executable)
    assert image.unpack(project).returncode == 0
    check_unpacked(image)


def test_unzip_unpacks_where_there_is_no_python(image: Image, project: Code) -> None:
    if shutil.which("unzip") is None:
        pytest.skip("this machine has no unzip")
    image.has("unzip", shutil.which("unzip"))
    assert image.unpack(project).returncode == 0
    check_unpacked(image)


def test_an_image_with_nothing_says_what_it_needs(image: Image, project: Code) -> None:
    done = image.unpack(project)
    assert done.returncode == 3
    assert "neither python3, python nor unzip" in done.stderr
    assert not list(image.code.iterdir())


@pytest.mark.parametrize("name", ["python3", "unzip"])
def test_what_arrived_damaged_is_not_unpacked(image: Image, project: Code, name: str) -> None:
    image.has(name, sys.executable)
    done = image.unpack(project, sha256="0" * 64)
    assert done.returncode == 1
    assert "checksum" in done.stderr
    assert not list(image.code.iterdir())


def directory(count: int, name: bytes = b"a", extra: bytes = b"", *, wide: bool = False) -> bytes:
    """A zip file that is nothing but a directory of `count` members; with `wide`, its end is zip64's."""
    lengths = struct.pack("<HHH", len(name), len(extra), 0)
    header = b"PK\x01\x02" + bytes(24) + lengths + bytes(12) + name + extra
    found = header * count
    if not wide:
        return found + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count % 2**16, 1, len(found), 0, 0)
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(found), 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(found), 1)
    most = 2**32 - 1
    return found + record + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0, 0, most, most, 0)


@pytest.mark.parametrize("wide", [False, True])
def test_a_directory_is_bounded_before_it_is_read(wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"limit": 20_000_000, "unpacked_limit": 10_000_000}
    most = encoded(directory(code.MAX_MEMBERS, wide=wide))
    code.decode(most, PATH, **limits)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was read"))
    error = refusal(encoded(directory(code.MAX_MEMBERS + 1, wide=wide)), **limits)
    assert error.status == 413
    assert "more than 10000 files" in str(error)
    error = refusal(encoded(directory(200, b"n" * 30_000, wide=wide)), **limits)
    assert error.status == 413
    assert "list of files" in str(error)
    error = refusal(encoded(directory(60, extra=bytes(65_532), wide=wide)), **limits)
    assert error.status == 413
    assert "extra fields" in str(error)


def test_pieces_hide_nothing() -> None:
    """What lies across the border between two pieces is seen, too."""
    for shift in range(-5, 2):
        prefix = bytes(code.PIECE + shift)
        limits = {"limit": 20_000_000, "unpacked_limit": 10_000_000}
        error = refusal(encoded(prefix + directory(code.MAX_MEMBERS + 1)), **limits)
        assert "more than 10000 files" in str(error)


@pytest.mark.parametrize("where", [0, 1, code.PIECE - 4, code.PIECE - 1, code.PIECE, code.PIECE + 3])
@pytest.mark.parametrize("wrong", ["=", "==", "-", "\n", "\u00e9"])
def test_base64_is_as_strict_in_pieces(where: int, wrong: str) -> None:
    text = "A" * (2 * code.PIECE)
    error = refusal(text[:where] + wrong + text[where + len(wrong) :])
    assert error.status == 422
    assert "is not base64" in str(error)
