"""`register()`: two PET volumes in, a transform out."""

from __future__ import annotations

import gc
import logging
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import SimpleITK as sitk
import torch

from . import devices, direct, fields, ladder, optimize, schedule, transforms
from .errors import OutOfMemory, is_out_of_memory
from .finished import FinishedStages
from .geometry import Geometry
from .images import Floats, Mask, Prepared, WorkingPair, body_box, check_volume, sampled, working_grid, working_pair
from .initialise import initial_transform
from .metrics import jacobian_determinant
from .presets import Config, resolve
from .progress import Event, Progress, Stage
from .pyramid import multiple_of

log = logging.getLogger("mirrba")

PREPARE = "preparing"

Found = TypeVar("Found")


@dataclass
class Registration:
    """The result on `fixed`'s grid. Points go from fixed to moving, in LPS mm."""

    transform: sitk.Transform
    fixed: Geometry
    body: Mask
    """The fixed body, `[z, y, x]` on the fixed grid."""
    provenance: dict[str, Any]
    history: list[dict[str, Any]]
    _initial: sitk.Transform
    _displacement: transforms.Array
    _grid: Geometry
    _moving: Geometry
    _device: torch.device
    _inverse: sitk.Transform | None = field(default=None, init=False)

    def warp(self, image: sitk.Image) -> sitk.Image:
        """`image` (in moving space) on the fixed grid, linear, 0 outside its field of view."""
        return self.fixed.resample(image, self.transform)

    def warp_labels(self, labels: sitk.Image) -> sitk.Image:
        """A label map (in moving space) on the fixed grid, nearest neighbour, once."""
        return self.fixed.resample(labels, self.transform, sitk.sitkNearestNeighbor)

    def jacobian(self) -> Floats:
        """det J of the whole transform on the fixed grid, `[z, y, x]`."""
        return jacobian_determinant(self.transform, self.fixed)

    def inverse(self) -> sitk.Transform:
        """From moving to fixed points; computed once, on first use."""
        if self._inverse is None:
            back = transforms.inverse_displacement(self._displacement, self._device)
            start = transforms.inverse_on(self._initial, self._moving.resampled(self._grid.spacing[0]))
            self._inverse = transforms.then(start, transforms.from_voxels(back, self._grid))
        return self._inverse


def register(
    fixed: sitk.Image,
    moving: sitk.Image,
    config: Config | None = None,
    on_progress: Callable[[Event], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_preview: Callable[[sitk.Image], None] | None = None,
    should_keep: Callable[[], bool] | None = None,
    finished: FinishedStages | None = None,
) -> Registration:
    """Register `moving` (baseline) onto `fixed` (follow-up), both scalar 3-D PET volumes.

    `on_progress` is told at most four times a second. `on_preview` gets the moving volume as it is warped at present,
    float32 in its own intensities on the working grid, at most every four seconds. `should_stop` and `should_keep` are
    asked at every iteration: the one ends the run with Cancelled, the other with what has been found so far (before
    the first iteration: the initial transform) and `stopped_early` in the provenance. `finished`: stages that are not
    to be run again. Where memory runs out, the run goes on with less (ladder.py), and warns. Raises InputError,
    Cancelled, OutOfMemory, MirrbaError.
    """
    started = time.monotonic()
    config = config or resolve()
    device = devices.choose(config.device)
    progress = Progress([Stage(PREPARE, 1, 0.0)], on_progress, should_stop, should_keep)
    progress.begin(PREPARE)
    follow_up = Prepared.of(check_volume(fixed, "fixed volume"), "fixed volume")
    uptake = check_volume(moving, "moving volume")
    baseline = Prepared.of(uptake, "moving volume")
    if _identical(follow_up.image, baseline.image):
        log.warning("The fixed and the moving volume are identical; check that they are two examinations.")
    progress.check()
    initial = initial_transform(config.init, follow_up, baseline)
    progress.check()
    box = body_box(follow_up, baseline, initial)
    multiple = _multiple(config)
    finished = finished or FinishedStages()

    def attempt(way: ladder.Way) -> tuple[Geometry, tuple[int, ...], transforms.Array]:
        """The working grid, the iterations of every level, and the displacement that they found."""
        working = _working_grid(config, way, lambda s: working_grid(box, s, multiple), min(fixed.GetSpacing()))
        iterations = schedule.iterations_for(config, way.device.type)
        pair = working_pair(follow_up, baseline, initial, working)
        on_grid = replace(config, window=schedule.window_for(config, working.spacing[0]))
        plan = _plan(on_grid, way.device, working, iterations)
        finished.of(plan)
        progress.follow(_stages(on_grid, iterations, working.shape), plan)
        if on_preview is not None:
            shown = _tensor(sampled(uptake, working, initial), way.device)
            progress.on_preview = _previewer(shown, working, on_preview)
        displacement = _optimised(pair, on_grid, iterations, way, progress, finished)
        return working, iterations, transforms.voxel_field(displacement)

    way, (working, iterations, displacement) = _with_enough_memory(ladder.first(device), config, attempt, progress)
    extended, grid = transforms.tapered(displacement, working)
    transform = transforms.then(transforms.from_voxels(extended, grid), initial)
    body = sitk.GetArrayFromImage(follow_up.body) > 0
    provenance = {
        "device": devices.label_of(way.device),
        "spacing_mm": working.spacing[0],
        "grid": list(working.size),
        "iterations": list(iterations[: optimize.levels_run(config)]),
        "learning_rate": schedule.learning_rate_for(config, iterations) if optimize.levels_run(config) else None,
        "window": schedule.window_for(config, working.spacing[0]) if config.start or config.finish else None,
        "bfloat16": way.mixed,
        "plan": progress.plan,
        "departures": progress.departures,
        "resumed": finished.resumed,
        "stopped_early": progress.stopped_early,
        "initial_transform": _described(initial),
        "seconds": round(time.monotonic() - started, 2),
        "peak_memory_mb": devices.peak_memory_mb(way.device),
    }
    return Registration(
        transform,
        Geometry.from_image(fixed),
        body,
        provenance,
        progress.history,
        initial,
        extended,
        grid,
        Geometry.from_image(moving),
        way.device,
    )


def _identical(fixed: sitk.Image, moving: sitk.Image) -> bool:
    same_place = Geometry.from_image(fixed) == Geometry.from_image(moving)
    return same_place and np.array_equal(sitk.GetArrayViewFromImage(fixed), sitk.GetArrayViewFromImage(moving))


def _multiple(config: Config) -> int:
    direct_levels = max(len(config.start), len(config.finish), 1)
    return max(multiple_of(config.depth), 2 ** (direct_levels - 1))


def _with_enough_memory(
    way: ladder.Way, config: Config, attempt: Callable[[ladder.Way], Found], progress: Progress
) -> tuple[ladder.Way, Found]:
    """What `attempt` gives on the first way, from `way` down the ladder, for which there is memory."""
    while True:
        try:
            with devices.current(way.device):
                return way, attempt(way)
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
    moving: torch.Tensor, grid: Geometry, on_preview: Callable[[sitk.Image], None]
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


def _described(transform: sitk.Transform) -> dict[str, Any]:
    linear = transform.IsLinear()
    return {"name": transform.GetName(), "parameters": list(transform.GetParameters()) if linear else None}
