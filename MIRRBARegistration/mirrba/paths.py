"""Names of files that ITK can take."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError


def check_name(path: str | Path) -> None:
    """Raises InputError for a name that is not UTF-8, as from an old archive: at one, ITK ends the process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        shown = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
        raise InputError(f"{shown}: has characters in its name that are not UTF-8; rename it.") from None
