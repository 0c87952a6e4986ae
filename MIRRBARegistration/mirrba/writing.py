"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what will be `path`: a file beside it, of the same ending, which takes its place at the end.

    Whatever is raised inside, no file is left and an older `path` stays as it was. Of several that write `path` at
    once, the last stays.
    """
    aside = path.with_name(f".partial-{secrets.token_hex(4)}-{path.name}")
    try:
        yield aside
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def write_text(path: Path, content: str) -> Path:
    with whole(path) as aside:
        aside.write_text(content, encoding="utf-8")
    return path


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
