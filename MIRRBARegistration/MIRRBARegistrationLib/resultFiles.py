"""The files of a finished run: none is loaded that is not, byte for byte, what the engine wrote."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from .errors import RegistrationError

RESULT_FILE = "result.json"


def checkResultFiles(folder: Path) -> None:
    """Raises RegistrationError where result.json is missing, or a file in its list is missing or changed."""
    for name, expected in _checksums(folder).items():
        if _sha256(folder / name) != expected:
            raise RegistrationError(
                f"The result file '{name}' is missing or not as the engine wrote it, so nothing was loaded; "
                "check the disk of the temporary folder and run it again."
            )


def _checksums(folder: Path) -> dict[str, str]:
    path = folder / RESULT_FILE
    if not path.is_file():
        raise RegistrationError("The engine reported success but left no result; run it again.")
    try:
        checksums = json.loads(path.read_text(encoding="utf-8"))["outputs_sha256"]
        return {str(name): str(value) for name, value in checksums.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise RegistrationError("The engine's result.json is damaged, so nothing was loaded; run it again.") from None


def _sha256(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
