"""What ITK's MetaImage reader does not stand.

It leaves damaged compressed voxels as they come, and a damaged header can crash it: an absurd number of dimensions, or
a % in the name of the voxels' file.
"""

from __future__ import annotations

import re
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO

from .errors import InputError

CHUNK = 2**20  # bytes
HEADER = 2**16  # bytes that hold any header


def check_metaimage(path: Path) -> None:
    """Raises InputError for a damaged MetaImage file; other files are left to ITK."""
    if path.suffix.lower() not in (".mha", ".mhd"):  # what ITK knows it by
        return
    with path.open("rb") as file:
        header = file.read(HEADER)
        end = re.search(rb"^ElementDataFile *= *(.*?) *\r?\n", header, re.MULTILINE)
        if end is None or not _is_sound(header[: end.start()]):
            raise _damaged(path)
        packed = re.search(rb"^CompressedData *= *True", header[: end.start()], re.MULTILINE)
        if end[1] == b"LOCAL":
            file.seek(end.end())
            whole = not packed or _is_whole(file)
        else:
            with _voxels(path, end[1]).open("rb") as other:
                whole = not packed or _is_whole(other)
    if not whole:
        raise _damaged(path)


def _is_sound(header: bytes) -> bool:
    """Whether each line has a name and a value, and the number of dimensions is one that ITK survives."""
    lines = [re.fullmatch(rb"([^=]+?) *= *(.*)", line.strip()) for line in header.splitlines() if line.strip()]
    if not all(lines):
        return False
    dimensions = [line[2] for line in lines if line is not None and line[1] == b"NDims"]
    return len(dimensions) == 1 and dimensions[0] in (b"2", b"3", b"4", b"5")


def _voxels(path: Path, name: bytes) -> Path:
    """The file of the voxels. Raises InputError; lists and patterns of slices are among what is refused."""
    with suppress(UnicodeDecodeError, ValueError):
        voxels = path.parent / name.decode()
        if b"%" not in name and voxels.is_file():
            return voxels
    raise InputError(f"{path}: names a file of voxels that is not beside it; put it there, or export to .nii.gz.")


def _damaged(path: Path) -> InputError:
    return InputError(f"{path}: is cut short or damaged; copy or export it again.")


def _is_whole(file: IO[bytes]) -> bool:
    """Whether what follows is a zlib stream to its very end."""
    stream = zlib.decompressobj()
    try:
        while not stream.eof and (chunk := file.read(CHUNK)):
            stream.decompress(chunk)
    except zlib.error:
        return False
    return stream.eof
