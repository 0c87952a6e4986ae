"""`mirrba benchmark`: our presets and every peer that is installed, on the same pairs, one run after the other.

Unlike a study, nothing runs beside a run: what is compared is accuracy against time and memory. Pairs made of a real
PET (`phantom.warped`) can be among them; they have a table of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import SimpleITK as sitk

from .. import __version__
from ..errors import InputError
from ..images import read_volume
from ..phantom import check_asked, write_pairs
from ..phantom.warped import REVISION, write_warped
from ..writing import write_text
from . import figures
from .cluster import cores
from .cohort import Pair, check_apart, read_cohort
from .methods import METHODS, PACKAGES, Method, find
from .run_pair import run_pair
from .scoreboard import METRICS, Scoreboard
from .statistics import SIGNIFICANT, Comparison
from .store import Record, Store, content_hash
from .study import check_packages, settings_of
from .task import Settings

TRUTH = Method("truth", "True field", "What a pair was made with: the scores of no error.", "truth")
OURS = ("default", "fast")
REFERENCE = "default"
COMPARED = (
    "dice_organs",
    "dice_lesions",
    "detection_rate",
    "disappearing_rate",
    "tre_mm",
    "tre_body_mm",
    "sd_jacobian",
    "folding",
)
WARPED = "warped PET"  # where other pairs have their centre
COMPARED_WARPED = tuple(name for name in COMPARED if name not in ("dice_organs", "tre_mm"))  # neither is drawn

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Benchmark:
    """What `mirrba benchmark` was asked for."""

    out: Path
    cohort: Path | None = None
    """None: made pairs."""
    pet: Path | None = None
    """A real PET to make pairs of, beside the others."""
    pet_pairs: int = 1
    """How many are made of it."""
    pairs: int = 3
    """How many others are made; with a PET, 0 is enough."""
    spacing: float = 6.0
    seed: int = 500
    """Of the first made pair."""
    methods: Sequence[str] | None = None
    """None: Identity, the true field, our presets and the peers that are installed."""
    threads: int | None = None
    """None: every core."""
    device: str = "auto"


def run_benchmark(benchmark: Benchmark, tell: Tell) -> list[Record]:
    """Run it, write OUT/benchmark.json, .md and .png, and return what failed.

    Raises InputError, MirrbaError. What OUT holds already is not run again.
    """
    check_packages()
    if benchmark.cohort is not None:
        check_apart(benchmark.cohort, benchmark.out)
    threads = cores() if benchmark.threads is None else benchmark.threads
    settings = settings_of(threads, 0, benchmark.device, None)
    methods = _methods(benchmark.methods)
    if benchmark.pet_pairs < 1:
        raise InputError(f"--pet-pairs takes a whole number from 1, not {benchmark.pet_pairs}.")
    pet = None if benchmark.pet is None else read_volume(benchmark.pet)  # before pairs are made: it may be no PET
    pairs = [*_pairs(benchmark, tell), *_warped(benchmark, pet, tell)]
    store = Store(benchmark.out / "results")
    records: list[Record] = []
    runs = [(pair, method) for pair in pairs for method in methods if method is not TRUTH or pair.truth is not None]
    for pair, method in runs:
        read = {"truth": pair.truth} if method is TRUTH and pair.truth is not None else {}
        records.append(run_pair(pair, method, settings, store, retry_failed=True, files=read))
        tell(_event(records[-1], len(records), len(runs)))
    write(records, settings, benchmark.out)
    return [record for record in records if not record.done]


def _methods(names: Sequence[str] | None) -> list[Method]:
    if names is None:
        peers = [method for method in METHODS.values() if method.backend in PACKAGES and method.start is None]
        usual = [method for method in peers if method.name != "syncc-full" and method.missing() is None]
        return [find("identity"), TRUTH, *map(find, OURS), *usual]
    methods = [find(name, TRUTH) for name in dict.fromkeys(names)]
    if not methods:
        raise InputError("--methods names no method; give some, separated by commas.")
    for method in methods:
        if method.trained:
            raise InputError(f"{method.title} has to be trained first; leave it to 'mirrba experiment'.")
    return methods


def _pairs(benchmark: Benchmark, tell: Tell) -> tuple[Pair, ...]:
    """The cohort's or made ones."""
    if benchmark.cohort is not None:
        return read_cohort(benchmark.cohort).pairs
    if benchmark.pairs == 0 and benchmark.pet is not None:
        return ()
    if benchmark.pairs < 2:
        raise InputError("--pairs takes a whole number from 2: with fewer, nothing can be compared.")
    check_asked(benchmark.pairs, benchmark.spacing, benchmark.seed)
    folder = benchmark.out / f"pairs-{benchmark.pairs}-{benchmark.spacing:g}mm-seed-{benchmark.seed}"
    if not (folder / "pairs.tsv").is_file():  # written last
        tell({"event": "warning", "message": f"Makes {benchmark.pairs} pairs in {folder}."})
        write_pairs(folder, benchmark.pairs, benchmark.spacing, benchmark.seed)
    return read_cohort(folder).pairs


def _warped(benchmark: Benchmark, pet: sitk.Image | None, tell: Tell) -> list[Pair]:
    """The pairs of the real PET, if one was given."""
    if benchmark.pet is None or pet is None:
        return []
    of_pet = f"warped-{content_hash(benchmark.pet)[:8]}-{REVISION}"
    pairs = []
    for seed in range(benchmark.pet_pairs):
        folder = benchmark.out / f"{of_pet}-{seed:03d}"
        if not folder.is_dir():
            tell({"event": "warning", "message": f"Makes a pair of {benchmark.pet.name} in {folder}."})
            write_warped(pet, folder, seed)
        pairs.append(_warped_pair(folder))
    return pairs


def _warped_pair(folder: Path) -> Pair:
    (fixed, fixed_lesions), (moving, moving_lesions) = (
        (folder / f"{word}.nii.gz", folder / f"{word}_segmentation.seg.nrrd") for word in ("fixed", "moving")
    )
    truth = folder / "true_transform.h5"
    return Pair(folder.name, fixed, moving, fixed_lesions, moving_lesions, truth=truth, centre=WARPED, organs=())


def _event(record: Record, done: int, total: int) -> dict[str, Any]:
    """As `Bar` wants it."""
    took = f" ({record.info['seconds']:.1f} s)" if record.done else " failed"
    return {
        "event": "progress",
        "plan": f"{total} registrations",
        "stage": f"{done} of {total}: {record.title} on {record.pair}{took}",
        "loss": None,
        "fraction": done / total,
        "remaining": None,
    }


def write(records: Sequence[Record], settings: Settings, out: Path) -> None:
    """OUT/benchmark.json with every number, benchmark.md with the means, benchmark.png."""
    content = {
        "mirrba": __version__,
        "settings": {"threads": settings.threads, "device": settings.device},
        "machine": sorted({f"{r.info['cpu']}, {r.info['platform']}" for r in records if r.done}),
        "versions": {r.method: r.info["versions"] for r in records if r.done},
        "rows": [_row(record) for record in records],
    }
    write_text(out / "benchmark.json", json.dumps(content, indent=1) + "\n")
    pairs, warped = (Scoreboard(r for r in records if (r.centre == WARPED) == real) for real in (False, True))
    tables = [markdown(pairs, COMPARED)] if pairs.pairs else []
    if warped.pairs:
        tables.append(
            "On the real PET, with lesions put into it and warped by known fields:\n\n"
            + markdown(warped, COMPARED_WARPED)
        )
    write_text(out / "benchmark.md", "\n".join(tables))
    picture = figures.accuracy_against_cost(pairs)
    if picture is not None:
        figures.save(picture, out / "benchmark.png")


def _row(record: Record) -> Mapping[str, Any]:
    known = {"pair": record.pair, "method": record.method, "status": record.status, "message": record.message}
    if not record.done:
        return known
    scores = {name: metric.value(record) for name, metric in METRICS.items() if name != "minutes"}
    took = {name: record.info[name] for name in ("seconds", "peak_memory_mb")}
    return {**known, **scores, **took, "plan": record.info.get("plan")}


def markdown(board: Scoreboard, compared: Sequence[str]) -> str:
    """A line per method: the means, marked where they differ from `default` on the same pairs."""
    heads = [METRICS[name].title + (f", {METRICS[name].unit}" if METRICS[name].unit else "") for name in compared]
    marks = (
        f" ▲ ▼: better or worse than MIRRBA (default) on the same pairs with p < {SIGNIFICANT:g}; paired t-test, or "
        "Wilcoxon's signed ranks where the differences are not normal."
    )
    told = [f"Means over {len(board.pairs)} pairs." + (marks if REFERENCE in board.methods else ""), ""]
    lines = [
        *(told if len(board.pairs) > 1 else []),
        "| | n | " + " | ".join(heads) + " | time, s | memory, MiB |",
        "|---|---:|" + "---:|" * (len(heads) + 2),
    ]
    for method in board.methods:
        cells = [_cell(board, method, name) for name in compared]
        cost = [_mean(board, method, name) for name in ("seconds", "peak_memory_mb")]
        lines.append(f"| {board.titles[method]} | {board.done(method)} | " + " | ".join([*cells, *cost]) + " |")
    if failures := board.failures_in_words():
        lines += ["", "Failed:", "", *(f"- {failure}" for failure in failures)]
    return "\n".join(lines) + "\n"


def _cell(board: Scoreboard, method: str, name: str) -> str:
    mean = board.summary(method, name).mean
    if mean is None:
        return "–"
    text = f"{mean:.{METRICS[name].digits}f}"
    if method == REFERENCE or REFERENCE not in board.methods:
        return text
    return text + _mark(board.compare(method, REFERENCE, name), METRICS[name].better == "higher")


def _mark(found: Comparison, higher_is_better: bool) -> str:
    if found.p is None or found.difference is None or found.p >= SIGNIFICANT:
        return ""
    return " ▲" if (found.difference > 0) == higher_is_better else " ▼"


def _mean(board: Scoreboard, method: str, name: str) -> str:
    known = [r.info[name] for r in board.of(method) if r.done and r.info[name] is not None]
    return f"{sum(known) / len(known):.0f}" if known else "–"
