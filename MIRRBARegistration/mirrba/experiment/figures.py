"""The paper's figures from what the store holds: overlays, lesions by fate, box plots, accuracy against time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .. import overlay
from ..geometry import Geometry
from ..segments import Mask
from ..writing import whole
from .cohort import Pair
from .displacement import as_transform, read_field
from .scoreboard import METRICS, Scoreboard
from .scores import warped
from .store import Record, Store
from .tables import TABLE_S1
from .task import DISPLACEMENT_FILE

FIGURE_2 = (
    "identity",
    "mirrba",
    "dl-lapirn",
    "dl-voxelmorph",
    "syn",
    "syncc",
    "elastix",
    "greedy",
    "combined",
    "combined-greedy",
)
ABLATIONS = (
    "identity",
    "mirrba-wo-regu",
    "mirrba-wo-archi",
    "mirrba-wo-rb",
    "mirrba-level-1",
    "mirrba-level-2",
    "mirrba",
    "mirrba-depth-1",
    "mirrba-depth-2",
    "mirrba-depth-4",
    "mirrba-max",
    "mirrba-up",
    "mirrba-def-conv",
    "mirrba-depth-4-max-up",
)
OF_LESIONS = ("mirrba-depth-4-max-up", "combined", "combined-greedy", "mirrba")  # the first that was run
PATIENTS = 2
STABLE = (0.75, 1.25)  # follow-up over baseline volume within which a lesion is stable; the paper gives no numbers
MARGIN = 15.0  # mm around a lesion
MARKERS = "o^sDvP"  # one for every ten colours
GREEN, PINK = np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0])


def write_figures(board: Scoreboard, pairs: Sequence[Pair], store: Store, folder: Path) -> list[tuple[str, str]]:
    """The pictures that the results allow, as (file name, caption)."""
    folder.mkdir(parents=True, exist_ok=True)
    figures: list[tuple[str, str, Callable[[], Figure | None]]] = [
        ("overlays.png", "Fixed (green) and warped (pink), grey where they agree: coronal and sagittal projections "
         "of each method, two patients (the paper's figure 2).", lambda: overlays(board, pairs, store, FIGURE_2)),
        ("overlays-ablation.png", "The same of the ablation study.",
         lambda: overlays(board, pairs, store, ABLATIONS)),
        ("overlays-elastix.png", "The same of Elastix, level by level (the supplement's figure 1).",
         lambda: overlays(board, pairs, store, TABLE_S1)),
        ("lesions.png", "Lesions by fate, before and after: fixed green, moving or warped pink, white where they "
         "agree (the paper's figure 3).", lambda: lesions(board, pairs, store)),
        ("box-plots.png", "Each metric over the pairs: median, quartiles, whiskers to 1.5 times their distance.",
         lambda: box_plots(board)),
        ("accuracy-time.png", "Accuracy against time; the mean over the pairs.", lambda: accuracy_against_time(board)),
    ]  # fmt: skip
    written = []
    for name, caption, draw in figures:
        figure = draw()
        if figure is not None:
            save(figure, folder / name)
            written.append((name, caption))
    return written


def overlays(board: Scoreboard, pairs: Sequence[Pair], store: Store, methods: Sequence[str]) -> Figure | None:
    """A column per method, rows of coronal and sagittal views for two patients; None for fewer than two methods."""
    shown = [method for method in methods if method in board.methods and board.done(method)]
    patients = _patients(board, pairs, shown)
    if len(shown) < 2 or not patients:
        return None
    views = {(pair.name, m): v for pair in patients for m, v in _views(board, pair, store, shown).items()}
    heights = [views[pair.name, m][0].shape for pair in patients for m in shown if (pair.name, m) in views]
    aspect = heights[0][0] / heights[0][1]
    figure = _figure(1.1 * len(shown) + 0.4, 1.1 * aspect * 2 * len(patients) + 0.4)
    axes = figure.subplots(2 * len(patients), len(shown), squeeze=False)
    for row, (pair, view) in enumerate((pair, view) for pair in patients for view in (0, 1)):
        for column, method in enumerate(shown):
            axis = axes[row, column]
            axis.set_axis_off()
            if (pair.name, method) in views:
                axis.imshow(views[pair.name, method][view])
            if row == 0:
                axis.set_title(board.titles[method].replace(" ", "\n", 1), fontsize=6)
    return figure


def _patients(board: Scoreboard, pairs: Sequence[Pair], methods: Sequence[str]) -> list[Pair]:
    """The first two of those on which most methods succeeded."""

    def succeeded(pair: Pair) -> int:
        return sum(board.record(method, pair.name) is not None for method in methods)

    best = sorted(pairs, key=succeeded, reverse=True)[:PATIENTS]
    return [pair for pair in pairs if pair in best]


def _views(board: Scoreboard, pair: Pair, store: Store, methods: Sequence[str]) -> dict[str, Any]:
    """Coronal and sagittal pictures by method."""
    fixed, moving = pair.volumes()
    found = {}
    for method in methods:
        record = board.record(method, pair.name)
        if record is not None:
            transform = as_transform(_field(store, record))
            found[method] = overlay.views(fixed, sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0))
    return found


def _field(store: Store, record: Record) -> sitk.Image:
    return read_field(store.place(record) / DISPLACEMENT_FILE)


# ----- lesions by fate


def lesions(board: Scoreboard, pairs: Sequence[Pair], store: Store) -> Figure | None:
    """The largest lesion of each fate in the cohort, before and after; None where no method of ours was run."""
    method = next((m for m in OF_LESIONS if m in board.methods and board.done(m)), None)
    if method is None:
        return None
    chosen = {fate: found for fate in FATES if (found := _largest(board, method, fate)) is not None}
    if not chosen:
        return None
    by_name = {pair.name: pair for pair in pairs}
    figure = _figure(1.6 * len(chosen) + 0.6, 3.8)
    axes = figure.subplots(2, len(chosen), squeeze=False)
    for column, (fate, (record, segment)) in enumerate(chosen.items()):
        before, after = _lesion_pictures(by_name[record.pair], _field(store, record), segment)
        axes[0, column].set_title(f"{fate}\n{record.pair}, {segment}", fontsize=6)
        axes[0, column].imshow(before)
        axes[1, column].imshow(after)
    for row, label in enumerate(("before", board.titles[method])):
        axes[row, 0].set_ylabel(label, fontsize=6)
        for axis in axes[row]:
            axis.set_xticks([])
            axis.set_yticks([])
    return figure


FATES = ("disappearing", "reducing", "stable", "growing")


def fate_of(segment: Mapping[str, Any]) -> str | None:
    """Of a lesion in the scores' list of segments; None for an organ and for a new lesion."""
    if segment["role"] != "lesion" or not segment.get("moving_ml"):
        return None
    share = (segment.get("fixed_ml") or 0.0) / segment["moving_ml"]
    if share == 0:
        return "disappearing"
    if share < STABLE[0]:
        return "reducing"
    return "stable" if share <= STABLE[1] else "growing"


def _largest(board: Scoreboard, method: str, fate: str) -> tuple[Record, str] | None:
    """The record and the name of the largest lesion at baseline with that fate."""
    found = [
        (segment["moving_ml"], record, segment["name"])
        for record in board.of(method)
        if record.done
        for segment in record.scores.get("segments") or []
        if fate_of(segment) == fate
    ]
    return max(found, key=lambda one: one[0])[1:] if found else None


def _lesion_pictures(pair: Pair, field: sitk.Image, name: str) -> tuple[Any, Any]:
    """Coronal projections of the lesion's masks, around it: fixed and moving, fixed and warped."""
    grid = Geometry.from_image(field)
    fixed, moving = pair.segmentations()
    masks = [
        next((s.mask for s in segmentation.segments if s.name == name), np.zeros(grid.shape, np.bool_))
        for segmentation in (fixed.onto(grid), moving.onto(grid), warped(moving, field))
    ]
    flat = [_coronal(mask, field) for mask in masks]
    box = _box(flat[0] | flat[1] | flat[2], field)
    green, before, after = (plane[box][..., None] for plane in flat)
    return green * GREEN + before * PINK, green * GREEN + after * PINK


def _coronal(mask: Mask, like: sitk.Image) -> Mask:
    """Head up, the patient's left on the right."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.CopyInformation(like)
    oriented: Mask = sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS")) > 0
    flat: Mask = oriented.max(axis=1)
    return flat[::-1]


def _box(flat: Mask, like: sitk.Image) -> tuple[slice, ...]:
    margin = int(np.ceil(MARGIN / min(like.GetSpacing())))
    slices = []
    for axis in (0, 1):
        hit = np.flatnonzero(flat.any(axis=1 - axis))
        first, last = (hit[0], hit[-1]) if len(hit) else (0, flat.shape[axis] - 1)
        slices.append(slice(max(0, first - margin), last + margin + 1))
    return tuple(slices)


# ----- numbers


def box_plots(board: Scoreboard) -> Figure | None:
    """A panel per metric, a box per method."""
    methods = [method for method in board.methods if board.done(method)]
    metrics = [m for m in METRICS.values() if any(v is not None for k in methods for v in board.values(k, m.name))]
    if not methods or not metrics:
        return None
    columns = 3
    rows = -(-len(metrics) // columns)
    figure = _figure(11, rows * (0.16 * len(methods) + 0.7))
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axis in axes.flat[len(metrics) :]:
        axis.set_axis_off()
    for axis, metric in zip(axes.flat, metrics, strict=False):
        values = [[v for v in board.values(method, metric.name) if v is not None] for method in methods]
        axis.boxplot(values, orientation="horizontal", widths=0.6, flierprops={"markersize": 2})
        axis.set_title(metric.title + (f", {metric.unit}" if metric.unit else ""), fontsize=8)
        axis.set_yticks(range(1, len(methods) + 1), [board.titles[method] for method in methods])
        axis.tick_params(labelsize=6)
    axes[0, 0].invert_yaxis()
    return figure


ACCURACY = ("dice_organs", "dice_lesions", "tre_mm")


def accuracy_against_time(board: Scoreboard) -> Figure | None:
    """Dice and landmark error by mean time, a point per method."""
    return _accuracy_against(board, {"time, minutes": _minutes(board)})


def accuracy_against_cost(board: Scoreboard) -> Figure | None:
    """The same by mean time and, below, by mean peak memory."""
    return _accuracy_against(board, {"time, minutes": _minutes(board), "peak memory, MiB": _memory(board)})


def _minutes(board: Scoreboard) -> dict[str, float]:
    return {m: mean for m in board.methods if (mean := board.summary(m, "minutes").mean) is not None}


def _memory(board: Scoreboard) -> dict[str, float]:
    known = {m: [r.info["peak_memory_mb"] for r in board.of(m) if r.done] for m in board.methods}
    return {m: float(np.mean(peaks)) for m, peaks in known.items() if peaks and None not in peaks}


def _accuracy_against(board: Scoreboard, costs: Mapping[str, Mapping[str, float]]) -> Figure | None:
    """A row per cost, a column per score, a point per method; Identity, which takes no time, is left out."""
    shown = [m for m in board.methods if (board.summary(m, "minutes").mean or 0) > 0]
    if not shown:
        return None
    figure = _figure(12, 4 * len(costs))
    lines: dict[str, Line2D] = {}
    for row, (label, cost) in zip(
        figure.subplots(len(costs), len(ACCURACY), squeeze=False), costs.items(), strict=True
    ):
        for axis, metric in zip(row, (METRICS[name] for name in ACCURACY), strict=True):
            for number, method in enumerate(shown):
                x, y = cost.get(method), board.summary(method, metric.name).mean
                if x is not None and y is not None:
                    (lines[method],) = axis.plot(
                        x, y, MARKERS[number // 10 % len(MARKERS)], color=f"C{number % 10}", markersize=5
                    )
            axis.set_xscale("log")
            axis.set_xlabel(label, fontsize=8)
            axis.set_title(metric.title + (f", {metric.unit}" if metric.unit else ""), fontsize=8)
            axis.tick_params(which="both", labelsize=6)
    figure.legend(
        list(lines.values()), [board.titles[method] for method in lines], loc="outside right upper", fontsize=7
    )
    return figure


def _figure(width: float, height: float) -> Figure:
    """In inches. Without pyplot: no display, nothing global."""
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with whole(path) as aside:
        figure.savefig(aside, dpi=150, format="png")
