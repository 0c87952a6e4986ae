"""One method on one pair, from the files to the stored result. What a scheduler maps over pairs × methods."""

from __future__ import annotations

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
from .task import DISPLACEMENT_FILE, LEVEL_FILE, LOG_FILE, Settings, Task
from .training import Training, train

KEPT = (DISPLACEMENT_FILE, LOG_FILE, *map(LEVEL_FILE.format, (1, 2, 3)))


@dataclass(frozen=True)
class _Run:
    """The arguments of `run_pair`."""

    pair: Pair
    method: Method
    settings: Settings
    files: Mapping[str, Path]
    training: Training | None
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
    training: Training | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Record:
    """The stored result if there is one, else a new one, which is stored; a failure is a result too.

    A failed one is tried again only with `retry_failed`. `files` are what the method reads beside the volumes; their
    contents are part of the key. A method that starts from another runs that one first, one with a `training` trains
    first; a training that has failed is not tried again here. Raises Cancelled after `should_stop`, and stores nothing
    then.
    """
    key = key_of(pair, method, settings, files, None if training is None else training.key)
    record = store.load(method.name, key)
    if record is not None and (record.done or not retry_failed):
        return _up_to_date(record, pair, store)
    new = Record(key, pair.name, pair.centre, method.name, method.title, "done")
    return _new(new, _Run(pair, method, settings, files or {}, training, retry_failed, should_stop), store)


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
    return store.produce(
        record,
        KEPT,
        lambda work: _scored(replace(record, info=_registered(run, store, work)), run.pair, work),
    )


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
    trained: dict[str, Any] = {}
    if run.training is not None:
        trained = _trained(run.training, store, run.should_stop)
        files["checkpoint"] = run.training.checkpoint(store)
    task = Task(run.method, run.pair.fixed, run.pair.moving, run.settings, files)
    info = {**process.run(task, work, run.should_stop).info, **trained}
    return info if start is None else after(start, info)


def _trained(training: Training, store: Store, should_stop: Callable[[], bool]) -> dict[str, Any]:
    """What the info of a pair tells of its network."""
    record = train(training, store, should_stop=should_stop)
    if not record.done:
        raise process.MethodFailed(f"{training.method.title} has no network for this pair: {record.message}")
    return {
        "train_seconds": record.info["seconds"],
        "training": {"key": record.key, "pairs": list(training.names), "losses": record.info["losses"]},
    }


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
