"""One method on one pair, from the files to the stored result. What a scheduler maps over pairs × methods."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import explained
from . import process
from .cohort import Pair
from .displacement import read_field
from .methods import Method
from .scores import score
from .store import Record, Store, key_of, scores_key_of
from .task import DISPLACEMENT_FILE, LOG_FILE, Settings, Task

KEPT = (DISPLACEMENT_FILE, LOG_FILE)


@dataclass(frozen=True)
class _Run:
    """The arguments of `run_pair`."""

    pair: Pair
    method: Method
    settings: Settings
    files: Mapping[str, Path]
    retry_failed: bool
    should_stop: Callable[[], bool]


def run_pair(
    pair: Pair,
    method: Method,
    settings: Settings,
    store: Store,
    *,
    retry_failed: bool = False,
    files: Mapping[str, Path] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Record:
    """The stored result if there is one, else a new one, which is stored; a failure is a result too.

    A failed one is tried again only with `retry_failed`. `files` are what the method reads beside the volumes; their
    contents are part of the key. A method that starts from another runs that one first. Raises Cancelled after
    `should_stop`, and stores nothing then.
    """
    key = key_of(pair, method, settings, files)
    record = store.load(method.name, key)
    if record is not None and (record.done or not retry_failed):
        return _up_to_date(record, pair, store)
    new = Record(key, pair.name, pair.centre, method.name, method.title, "done")
    return _new(new, _Run(pair, method, settings, files or {}, retry_failed, should_stop), store)


def _up_to_date(record: Record, pair: Pair, store: Store) -> Record:
    """The record with the scores of the pair's present segmentations, truth, name and centre."""
    present = replace(record, pair=pair.name, centre=pair.centre)
    if record.done and record.scores_key != scores_key_of(pair):
        try:
            present = _scored(present, pair, store.place(record))
        except Exception as error:
            return replace(present, status="failed", message=str(explained(error)), scores={})
    if present != record:
        store.rescore(present)
    return present


def _new(record: Record, run: _Run, store: Store) -> Record:
    work = store.work_folder(run.method.name)
    try:
        record = _scored(replace(record, info=_registered(run, store, work)), run.pair, work)
    except Exception as error:
        known = explained(error)
        if known.kind == "cancelled":
            shutil.rmtree(work, ignore_errors=True)
            raise
        record = replace(record, status="failed", message=str(known))
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    _tidy(work)
    return store.save(record, work)


def _registered(run: _Run, store: Store, work: Path) -> dict[str, Any]:
    """Run the method, and the one that it starts from before, and return the info."""
    files = dict(run.files)
    start = None
    if run.method.start is not None:
        start = run_pair(
            run.pair, run.method.start, run.settings, store, retry_failed=run.retry_failed, should_stop=run.should_stop
        )
        if not start.done:
            raise process.MethodFailed(
                f"{run.method.title} starts from {start.title}, which has failed: {start.message}"
            )
        files["start"] = store.place(start) / DISPLACEMENT_FILE
    task = Task(run.method, run.pair.fixed, run.pair.moving, run.settings, files)
    info = process.run(task, work, run.should_stop).info
    return info if start is None else after(start, info)


def after(start: Record, own: dict[str, Any]) -> dict[str, Any]:
    """The info of a method that started from another: both times, the higher memory."""
    peaks = [info["peak_memory_mb"] for info in (start.info, own) if info["peak_memory_mb"] is not None]
    return {
        **own,
        "seconds": round(start.info["seconds"] + own["seconds"], 3),
        "seconds_own": own["seconds"],
        "peak_memory_mb": max(peaks, default=None),
        "start": {"method": start.method, "key": start.key, "info": dict(start.info)},
    }


def _scored(record: Record, pair: Pair, place: Path) -> Record:
    found = score(pair, read_field(place / DISPLACEMENT_FILE))
    found |= {"seconds": record.info["seconds"], "peak_memory_mb": record.info["peak_memory_mb"]}
    return replace(record, scores=found, scores_key=scores_key_of(pair))


def _tidy(work: Path) -> None:
    """Only the field and the log stay: a package's own files are as large again."""
    for path in work.iterdir():
        if path.name in KEPT:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
