"""The scores of a study by method, metric and pair: what tables, figures and claims are made from."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..writing import whole
from .statistics import Comparison, Summary, compare, summary
from .store import Record


@dataclass(frozen=True)
class Metric:
    """A column of the tables."""

    name: str
    title: str
    unit: str
    better: str | None
    """higher or lower; None: the paper defines no ideal value."""
    value: Callable[[Record], float | None]
    """In `unit`, of a record that is done."""
    digits: int = 3
    trivial: bool = False
    """No registration at all is best at it, and so is not ranked."""


def _score(name: str, factor: float = 1.0) -> Callable[[Record], float | None]:
    def value(record: Record) -> float | None:
        found = record.scores.get(name)
        return None if found is None else factor * float(found)

    return value


def _hausdorff(role: str) -> Callable[[Record], float | None]:
    """The mean over the segments of a role that both scans have."""

    def value(record: Record) -> float | None:
        segments = [segment for segment in record.scores.get("segments") or [] if segment["role"] == role]
        known = [d for segment in segments if (d := segment.get("average_hausdorff_mm")) is not None]
        return statistics.fmean(known) if known else None

    return value


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("detection_rate", "Detection rate", "%", "higher", _score("detection_rate", 100), 2),
        Metric("dice_organs", "Dice organs", "", "higher", _score("dice_organs")),
        Metric("dice_lesions", "Dice lesions", "", "higher", _score("dice_lesions")),
        Metric("sd_jacobian", "SDJDet", "", None, _score("sd_jacobian")),
        Metric("disappearing_rate", "Disap. rate", "%", "higher", _score("disappearing_rate", 100), 2),
        Metric("minutes", "Comput. time", "min", "lower", _score("seconds", 1 / 60), 2, trivial=True),
        Metric("tre_mm", "TRE landmarks", "mm", "lower", _score("tre_mm"), 2),
        Metric("tre_body_mm", "TRE body", "mm", "lower", _score("tre_body_mm"), 2),
        Metric("hausdorff_organs_mm", "Avg. Hausdorff organs", "mm", "lower", _hausdorff("organ"), 2),
        Metric("hausdorff_lesions_mm", "Avg. Hausdorff lesions", "mm", "lower", _hausdorff("lesion"), 2),
        Metric("folding", "Folding", "%", "lower", _score("folding_fraction", 100), 3, trivial=True),
    )
}


class Scoreboard:
    """Records by method and pair, both in the order in which they first appear."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.records = list(records)
        self.pairs = list(dict.fromkeys(record.pair for record in self.records))
        self.titles = {record.method: record.title for record in self.records}
        self._by_place = {(record.method, record.pair): record for record in self.records}

    @property
    def methods(self) -> list[str]:
        return list(self.titles)

    def of(self, method: str) -> list[Record]:
        """The records of a method, pair by pair."""
        return [self._by_place[method, pair] for pair in self.pairs if (method, pair) in self._by_place]

    def record(self, method: str, pair: str) -> Record | None:
        """The finished record, if there is one."""
        record = self._by_place.get((method, pair))
        return record if record is not None and record.done else None

    def values(self, method: str, metric: str) -> list[float | None]:
        """In the order of `pairs`; None where the method failed or the pair has nothing to score."""
        records = [self.record(method, pair) for pair in self.pairs]
        return [None if record is None else METRICS[metric].value(record) for record in records]

    def summary(self, method: str, metric: str) -> Summary:
        return summary(self.values(method, metric))

    def compare(self, first: str, second: str, metric: str) -> Comparison:
        return compare(self.values(first, metric), self.values(second, metric))

    def train_minutes(self, method: str) -> float | None:
        """What the network of a pair took to train, the mean over the pairs; None for a method without training."""
        infos = [record.info for record in self.of(method) if record.done and "train_seconds" in record.info]
        return statistics.fmean(info["train_seconds"] for info in infos) / 60 if infos else None

    def done(self, method: str) -> int:
        return sum(record.done for record in self.of(method))

    def failures(self, methods: Sequence[str] | None = None) -> list[Record]:
        wanted = self.methods if methods is None else methods
        return [record for method in wanted for record in self.of(method) if not record.done]

    def failures_in_words(self, methods: Sequence[str] | None = None) -> list[str]:
        """A sentence for each method and message, with the pairs that it is about."""
        grouped: dict[tuple[str, str | None], list[str]] = {}
        for record in self.failures(methods):
            grouped.setdefault((record.title, record.message), []).append(record.pair)
        return [f"{title}, {self._listed(pairs)}: {message}" for (title, message), pairs in grouped.items()]

    def _listed(self, pairs: Sequence[str]) -> str:
        return "every pair" if len(pairs) == len(self.pairs) > 1 else ", ".join(pairs)


def write_csv(board: Scoreboard, path: Path) -> None:
    """A line per pair and method, nothing averaged: what every number of the report comes from."""
    rows = [_row(record) for record in board.records]
    made = ["train_seconds", "peak_memory_mb", "key", "message"]
    write_rows(path, rows, ["pair", "centre", "method", "title", "status", *METRICS, *made])


def _row(record: Record) -> dict[str, Any]:
    known = {name: metric.value(record) if record.done else None for name, metric in METRICS.items()}
    scores = {name: None if value is None else f"{value:.12g}" for name, value in known.items()}
    info = {name: getattr(record, name) for name in ("pair", "centre", "method", "title", "status", "key", "message")}
    made = {name: record.info.get(name) for name in ("train_seconds", "peak_memory_mb")}
    return {**info, **scores, **made}


def write_rows(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """As CSV."""
    with whole(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
