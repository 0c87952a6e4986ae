"""The training of a fold's network: a task of its own, whose checkpoint is stored before the fold's pairs run.

STORE/<method>-training/<key>/result.json, checkpoint.pt, log.txt
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..writing import write_json
from . import process
from .cohort import Pair
from .folds import folds
from .methods import Method
from .store import Record, Store, training_key_of
from .task import JOB_FILE, LOG_FILE, SCHEMA, Settings, read_job

CHECKPOINT_FILE = "checkpoint.pt"
KEPT = (CHECKPOINT_FILE, LOG_FILE)


@dataclass(frozen=True)
class Training:
    """A method's network and the pairs that it learns from."""

    method: Method
    names: tuple[str, ...]
    """Of the pairs."""
    volumes: tuple[tuple[Path, Path], ...]
    """Fixed and moving of each pair."""
    settings: Settings

    @property
    def key(self) -> str:
        return training_key_of(self.volumes, self.method, self.settings)

    def checkpoint(self, store: Store) -> Path:
        return store.place(self.record()) / CHECKPOINT_FILE

    def record(self) -> Record:
        """An empty one, not done."""
        method = f"{self.method.name}-training"
        title = f"Training of {self.method.title}"
        pairs = f"{len(self.names)} pairs" if len(self.names) > 1 else "1 pair"
        return Record(self.key, pairs, None, method, title, "failed")


def cross_validation(pairs: Sequence[Pair], method: Method, settings: Settings) -> dict[str, Training]:
    """For each pair, by name, the training on the pairs of the other folds. Raises InputError for less than two."""
    parts = folds(pairs, settings.seed)
    found: dict[str, Training] = {}
    for part in parts:
        others = [pair for other in parts if other is not part for pair in other]
        names = tuple(pair.name for pair in others)
        volumes = tuple((pair.fixed.absolute(), pair.moving.absolute()) for pair in others)
        found |= dict.fromkeys((pair.name for pair in part), Training(method, names, volumes, settings))
    return found


def train(
    training: Training,
    store: Store,
    *,
    retry_failed: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Record:
    """The stored training if there is one, else a new one, which is stored; a failure is stored, too.

    A failed one is tried again only with `retry_failed`. Raises Cancelled after `should_stop`, and stores nothing then.
    """
    empty = training.record()
    record = store.load(empty.method, empty.key)
    if record is not None and (record.done or not retry_failed):
        return record
    return store.produce(replace(empty, status="done"), KEPT, lambda work: _trained(empty, training, work, should_stop))


def _trained(record: Record, training: Training, work: Path, should_stop: Callable[[], bool]) -> Record:
    write_training(training, work)
    info = process.run_child("run_training", record.title, training.settings, work, should_stop)
    return replace(record, status="done", info=info)


def write_training(training: Training, folder: Path) -> None:
    content = {
        "schema": SCHEMA,
        "method": asdict(training.method),
        "names": training.names,
        "volumes": [[str(path) for path in pair] for pair in training.volumes],
        "settings": asdict(training.settings),
    }
    write_json(folder / JOB_FILE, content)


def read_training(folder: Path) -> Training:
    """Raises InputError for a folder without a training of this schema."""
    return read_job(
        folder,
        lambda content: Training(
            Method.from_json(content["method"]),
            tuple(content["names"]),
            tuple((Path(fixed), Path(moving)) for fixed, moving in content["volumes"]),
            Settings(**content["settings"]),
        ),
    )
