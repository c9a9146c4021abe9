"""Runs inside the job's image, not here: `python unpack.py ARCHIVE FOLDER SHA256`.

Any Python 3 must do, since the image is the user's: standard library only, no syntax of recent years. Keeps
the bits that make a file executable; whatever user the job runs as may write what is unpacked.
"""

import hashlib
import os
import sys
import zipfile


def main(archive: str, folder: str, sha256: str) -> None:
    with open(archive, "rb") as f:  # noqa: PTH123
        found = hashlib.sha256(f.read()).hexdigest()
    if found != sha256:
        sys.exit("the checksum of the archive is wrong")
    with zipfile.ZipFile(archive) as members:
        for info in members.infolist():
            made = members.extract(info, folder)
            if not os.path.isdir(made):  # noqa: PTH112
                os.chmod(made, (info.external_attr >> 16) & 0o777 | 0o666)  # noqa: PTH101, S103


if __name__ == "__main__":
    main(*sys.argv[1:])
