"""What ITK's MetaImage reader passes over in silence: damaged compressed voxels, which it leaves as they come."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import IO

from .errors import InputError

CHUNK = 2**20  # bytes
HEADER = 2**16  # bytes that hold any header


def check_metaimage(path: Path) -> None:
    """Raises InputError for a damaged MetaImage file; other files are left to ITK."""
    with path.open("rb") as file:
        header = file.read(HEADER)
        end = re.search(rb"^ElementDataFile *= *(.*?) *\r?\n", header, re.MULTILINE)
        if end is None or not re.search(rb"^CompressedData *= *True", header[: end.start()], re.MULTILINE):
            return
        if end[1] == b"LOCAL":
            file.seek(end.end())
            whole = _is_whole(file)
        else:
            voxels = path.parent / end[1].decode("utf-8", "replace")
            if not voxels.is_file():
                return  # ITK says so
            with voxels.open("rb") as other:
                whole = _is_whole(other)
    if not whole:
        raise InputError(f"{path}: is cut short or damaged; copy or export it again.")


def _is_whole(file: IO[bytes]) -> bool:
    """Whether what follows is a zlib stream to its very end."""
    stream = zlib.decompressobj()
    try:
        while not stream.eof and (chunk := file.read(CHUNK)):
            stream.decompress(chunk)
    except zlib.error:
        return False
    return stream.eof
