"""Results that stay: each pair × method whole in a folder of its own, named by what it was made from.

    STORE/<method>/<key>/result.json, displacement.nrrd, log.txt
    STORE/<method>-training/<key>/result.json, checkpoint.pt, log.txt

The key is a hash of the volumes' contents, the method with all its settings, those of the study, and the version of the
package that does the work. Any change of these makes another result; everything else finds this one again.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, explained
from ..writing import write_json
from . import scores
from .cohort import Pair, table_of
from .methods import Method
from .task import RESULT_FILE, Settings

SCHEMA = 1
ABANDONED = 2 * 24 * 3600  # seconds after which a folder that nobody finished is removed


@dataclass(frozen=True)
class Record:
    """A result as it is stored."""

    key: str
    pair: str
    centre: str | None
    method: str
    title: str
    status: str
    """done or failed."""
    message: str | None = None
    """Why it failed, in one sentence."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """seconds, peak_memory_mb, parameters, versions, …: docs/experiment.md."""
    scores: Mapping[str, Any] = field(default_factory=dict)
    scores_key: str | None = None
    """A hash of what the scores were made from beside the field."""

    @property
    def done(self) -> bool:
        return self.status == "done"


class Store:
    """A folder of results. Several processes, on several machines, may use it at once."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot hold results ({error.strerror}); choose another folder.") from None

    def place(self, record: Record) -> Path:
        """The folder of a record."""
        return self.folder / record.method / record.key

    def load(self, method: str, key: str) -> Record | None:
        """The result of that key, if there is one that is whole."""
        return _read(self.folder / method / key)

    def records(self) -> Iterator[Record]:
        """Every result, by method and key."""
        for path in sorted(self.folder.glob(f"*/*/{RESULT_FILE}")):
            if not path.parent.name.startswith(".") and (record := _read(path.parent)) is not None:
                yield record

    def work_folder(self, method: str) -> Path:
        """A new folder to work in, on the store's own disk, hidden from `records`."""
        (self.folder / method).mkdir(exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".partial-", dir=self.folder / method))

    def save(self, record: Record, work: Path) -> Record:
        """Make a work folder the result, all at once, and return the result that is there then.

        A failure that was there is replaced. What another process has done meanwhile stays: others may be reading it.
        """
        write_json(work / RESULT_FILE, {"schema": SCHEMA, **asdict(record)})
        place = self.place(record)
        for _ in range(10):
            try:
                os.rename(work, place)
                return record
            except OSError:
                there = _read(place)
                if there is not None and there.done:
                    shutil.rmtree(work, ignore_errors=True)
                    return there
                self._remove(place)
        raise InputError(f"{place}: cannot be written; check the disk and rights.")

    def produce(self, record: Record, kept: Sequence[str], make: Callable[[Path], Record]) -> Record:
        """Store what `make` gives in a new work folder, of whose files only those `kept` stay.

        Whatever it raises makes `record` a failed one, which is stored, too; only Cancelled is raised on, and nothing
        stored.
        """
        work = self.work_folder(record.method)
        try:
            record = make(work)
        except Exception as error:
            known = explained(error)
            if known.kind == "cancelled":
                shutil.rmtree(work, ignore_errors=True)
                raise
            record = replace(record, status="failed", message=str(known))
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        _tidy(work, kept)
        return self.save(record, work)

    def _remove(self, place: Path) -> None:
        aside = Path(tempfile.mkdtemp(prefix=".partial-", dir=place.parent))
        with suppress(OSError):  # another process was faster
            os.rename(place, aside / place.name)
        shutil.rmtree(aside, ignore_errors=True)

    def rescore(self, record: Record) -> None:
        """Write the record again, its field staying as it is."""
        write_json(self.place(record) / RESULT_FILE, {"schema": SCHEMA, **asdict(record)})

    def sweep(self) -> None:
        """Remove what runs that were killed have left behind."""
        for work in self.folder.glob("*/.partial-*"):
            with suppress(OSError):
                if _is_abandoned(work, *work.iterdir()):
                    shutil.rmtree(work, ignore_errors=True)
        for file in self.folder.glob("*/*/.partial-*"):  # of a record that was being written again
            with suppress(OSError):
                if _is_abandoned(file):
                    file.unlink()


def _is_abandoned(*paths: Path) -> bool:
    """Whether none of them was written for so long that nobody is at work there."""
    return time.time() - max(path.stat().st_mtime for path in paths) > ABANDONED


def key_of(
    pair: Pair,
    method: Method,
    settings: Settings,
    files: Mapping[str, Path] | None = None,
    training: str | None = None,
) -> str:
    """The key of a registration: 16 hexadecimal digits. `training` is the key of its network's."""
    start = None if method.start is None else key_of(pair, method.start, settings)
    read = {name: content_hash(path) for name, path in (files or {}).items()}
    return _hash(
        {
            "fixed": content_hash(pair.fixed),
            "moving": content_hash(pair.moving),
            "files": read if training is None else {**read, "training": training},
            "start": start,
            **_of_method(method, settings),
        }
    )


def training_key_of(volumes: Sequence[tuple[Path, Path]], method: Method, settings: Settings) -> str:
    """The key of a network trained on these pairs (fixed, moving), in this order."""
    learned = [[content_hash(fixed), content_hash(moving)] for fixed, moving in volumes]
    return _hash({"training": learned, **_of_method(method, settings)})


def _of_method(method: Method, settings: Settings) -> dict[str, Any]:
    return {
        "method": [method.name, method.backend, method.settings(), method.revision, method.version()],
        "settings": [settings.threads, settings.seed, settings.device],
    }


def scores_key_of(pair: Pair) -> str:
    """The key of a pair's scores: they are made again where its segmentations or its truth change."""
    segmentations = (pair.fixed_segmentation, pair.moving_segmentation)
    files = (*segmentations, *map(table_of, segmentations), pair.truth, pair.landmarks)
    known = [content_hash(path) if path is not None and path.is_file() else None for path in files]
    return _hash({"files": known, "revision": scores.REVISION})


def content_hash(path: Path) -> str:
    """SHA-256 of a file; asked again, the file is not read again unless it has changed."""
    state = path.stat()
    return _content_hash(path.absolute(), state.st_mtime_ns, state.st_size)


@functools.lru_cache(4096)
def _content_hash(path: Path, _changed: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _tidy(work: Path, kept: Sequence[str]) -> None:
    """A package's own files are as large again as what stays."""
    for path in work.iterdir():
        if path.name in kept:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _read(place: Path) -> Record | None:
    try:
        content = json.loads((place / RESULT_FILE).read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA:
            return None
        return Record(**content)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
