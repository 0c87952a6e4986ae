"""The displacement between two volumes that are aligned: working grid, stages in order, less where memory runs out.

Here torch begins: what is before it in `registration.py` runs while torch is loaded.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from . import devices, direct, fields, kernels, ladder, optimize, schedule
from .errors import OutOfMemory, is_out_of_memory
from .finished import FinishedStages
from .geometry import Geometry
from .images import Floats, Prepared, WorkingPair, body_box, sampled, working_grid, working_pair
from .presets import Config
from .progress import Progress, Stage
from .pyramid import multiple_of
from .transforms import Array

OnPreview = Callable[[sitk.Image], None]


@dataclass(frozen=True)
class Aligned:
    """`initial`: from fixed to moving points, LPS mm. `uptake`: the moving volume in its own intensities."""

    fixed: Prepared
    moving: Prepared
    uptake: sitk.Image
    initial: sitk.Transform
    native_mm: float
    """The smallest side of the fixed volume's voxels as it came."""


@dataclass(frozen=True)
class Deformation:
    """`displacement`: voxels `[z, y, x, 3]` on `grid`, before the initial transform."""

    displacement: Array
    grid: Geometry
    device: torch.device
    settings: dict[str, Any]
    """What the device and the grid have settled, by the names of the provenance."""


def ready(config: Config) -> torch.device:
    """The device, on a GPU with nearly all kernels compiled. Raises InputError where it is not there."""
    device = devices.choose(config.device)
    try:
        with devices.current(device):
            for name in kernels.NETWORK if optimize.levels_run(config) else kernels.DESCENT:
                kernels.working(name, device)
            if config.start or config.finish:
                direct.compile_ahead(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):  # else whoever needs a kernel tries again, and goes down the ladder
            raise
    return device


def deform(
    aligned: Aligned,
    config: Config,
    device: torch.device,
    progress: Progress,
    finished: FinishedStages,
    on_preview: OnPreview | None,
) -> Deformation:
    """Raises InputError where the volumes share too little, Cancelled, OutOfMemory."""
    box = body_box(aligned.fixed, aligned.moving, aligned.initial)
    multiple = _multiple(config)

    def attempt(way: ladder.Way) -> Deformation:
        grid = _working_grid(config, way, lambda s: working_grid(box, s, multiple), aligned.native_mm)
        iterations = schedule.iterations_for(config, way.device.type)
        pair = working_pair(aligned.fixed, aligned.moving, aligned.initial, grid)
        on_grid = replace(config, window=schedule.window_for(config, grid.spacing[0]))
        plan = _plan(on_grid, way.device, grid, iterations)
        finished.of(plan)
        progress.follow(_stages(on_grid, iterations, grid.shape), plan)
        if on_preview is not None:
            shown = _tensor(sampled(aligned.uptake, grid, aligned.initial), way.device)
            progress.on_preview = _previewer(shown, grid, on_preview)
        displacement = _optimised(pair, on_grid, iterations, way, progress, finished)
        settings = _settled(on_grid, way, grid, iterations)
        return Deformation(fields.voxel_field(displacement), grid, way.device, settings)

    try:
        return _with_enough_memory(ladder.first(device), config, attempt, progress)
    finally:
        fields.unit_grid.cache_clear()  # of every level, and nobody asks for them again


def _settled(config: Config, way: ladder.Way, grid: Geometry, iterations: tuple[int, ...]) -> dict[str, Any]:
    levels = optimize.levels_run(config)
    return {
        "device": devices.label_of(way.device),
        "spacing_mm": grid.spacing[0],
        "grid": list(grid.size),
        "iterations": list(iterations[:levels]),
        "learning_rate": schedule.learning_rate_for(config, iterations) if levels else None,
        "window": config.window if config.start or config.finish else None,
        "bfloat16": way.mixed,
    }


def _multiple(config: Config) -> int:
    direct_levels = max(len(config.start), len(config.finish), 1)
    return max(multiple_of(config.depth), 2 ** (direct_levels - 1))


def _with_enough_memory(
    way: ladder.Way, config: Config, attempt: Callable[[ladder.Way], Deformation], progress: Progress
) -> Deformation:
    """What `attempt` gives on the first way, from `way` down the ladder, for which there is memory."""
    if config.architecture and way.device.type == "cpu":
        devices.supports_bfloat16(way.device)  # first asked without memory, oneDNN has been seen to crash
    while True:
        try:
            with devices.current(way.device):
                return attempt(way)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Only here are the tensors free that the error's traceback held.
        gc.collect()
        fields.unit_grid.cache_clear()
        if way.device.type == "cuda":
            with suppress(RuntimeError):  # after a CUDA graph that failed, older PyTorch refuses
                torch.cuda.empty_cache()
        lower = ladder.below(way, config)
        if lower is None:
            raise _out_of_memory(way, config)
        way, sentence = lower
        progress.depart(sentence)


def _working_grid(config: Config, way: ladder.Way, grid_of: Callable[[float], Geometry], native_mm: float) -> Geometry:
    chosen = schedule.spacing_for(config, way.device.type, lambda s: math.prod(grid_of(s).size), native_mm)
    return grid_of(way.spacing(chosen))


def _stages(config: Config, iterations: tuple[int, ...], shape: fields.Shape) -> list[Stage]:
    return [
        *direct.stages("start", config.start, shape),
        *optimize.stages(config, iterations, shape),
        *direct.stages("finish", config.finish, shape),
    ]


def _plan(config: Config, device: torch.device, grid: Geometry, iterations: tuple[int, ...]) -> str:
    size = " × ".join(str(n) for n in grid.size)
    parts = [f"Preset {config.preset} on {devices.label_of(device)}: {size} voxels of {grid.spacing[0]:g} mm"]
    if config.start:
        parts.append(f"start with {'+'.join(map(str, config.start))} iterations with window {config.window}")
    run = iterations[: optimize.levels_run(config)]
    if run:
        parts.append(f"network with {'+'.join(map(str, run))} iterations")
    if config.finish:
        parts.append(f"finish with {'+'.join(map(str, config.finish))} iterations with window {config.window}")
    return ", ".join(parts) + "."


def _optimised(
    pair: WorkingPair,
    config: Config,
    iterations: tuple[int, ...],
    way: ladder.Way,
    progress: Progress,
    finished: FinishedStages,
) -> torch.Tensor:
    fixed, moving, weight = (_tensor(array, way.device) for array in (pair.fixed, pair.moving, pair.weight))

    def descended(part: str, iterations: tuple[int, ...], found: torch.Tensor) -> torch.Tensor:
        return direct.descend(part, fixed, moving, weight, iterations, config.window, progress, finished, found)

    start = None
    if config.start:
        still = fields.zeros(pair.grid.shape, way.device)
        start = descended("start", config.start, still)
    found = optimize.optimize(
        fixed, moving, weight, config, iterations, progress, finished, start, way.mixed, way.recompute
    )
    return descended("finish", config.finish, found)


def _previewer(
    moving: torch.Tensor, grid: Geometry, on_preview: OnPreview
) -> Callable[[Callable[[], torch.Tensor]], None]:
    """What makes a preview of a displacement: `moving` `[1, 1, z, y, x]`, on the working grid, warped by it."""

    def show(displacement: Callable[[], torch.Tensor]) -> None:
        with torch.no_grad():
            warped = fields.warp(moving, fields.resize(displacement(), grid.shape))
        on_preview(grid.image(warped[0, 0].cpu().numpy()))

    return show


def _out_of_memory(way: ladder.Way, config: Config) -> OutOfMemory:
    coarser = "" if config.spacing is None else f" than {config.spacing:g} mm"
    return OutOfMemory(
        f"Not enough memory on {devices.label_of(way.device)}, not even with what takes least of it; close other "
        f"programs, crop the volumes or set a spacing coarser{coarser}."
    )


def _tensor(array: Floats, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))[None, None].to(device)
