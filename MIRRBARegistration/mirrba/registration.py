"""`register()`: two PET volumes in, a transform out."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from . import devices, direct, fields, optimize, schedule, transforms
from .errors import OutOfMemory
from .geometry import Geometry
from .images import Floats, Mask, Prepared, WorkingPair, body_box, check_volume, sampled, working_grid, working_pair
from .initialise import initial_transform
from .metrics import jacobian_determinant
from .presets import Config, resolve
from .progress import Event, Progress, Stage
from .pyramid import multiple_of

log = logging.getLogger("mirrba")

PREPARE = "preparing"


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
            back = transforms.from_voxels(transforms.inverse_displacement(self._displacement), self._grid)
            start = transforms.inverse_on(self._initial, self._moving.resampled(self._grid.spacing[0]))
            self._inverse = transforms.then(start, back)
        return self._inverse


def register(
    fixed: sitk.Image,
    moving: sitk.Image,
    config: Config | None = None,
    on_progress: Callable[[Event], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_preview: Callable[[sitk.Image], None] | None = None,
    should_keep: Callable[[], bool] | None = None,
) -> Registration:
    """Register `moving` (baseline) onto `fixed` (follow-up), both scalar 3-D PET volumes.

    `on_progress` is told at most four times a second. `on_preview` gets the moving volume as it is warped at present,
    float32 in its own intensities on the working grid, at most every four seconds. `should_stop` and `should_keep` are
    asked at every iteration: the one ends the run with Cancelled, the other with what has been found so far (before
    the first iteration: the initial transform) and `stopped_early` in the provenance. Raises InputError, Cancelled,
    OutOfMemory, MirrbaError.
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
    spacing = schedule.spacing_for(
        config, device.type, lambda s: math.prod(working_grid(box, s, multiple).size), min(fixed.GetSpacing())
    )
    pair = working_pair(follow_up, baseline, initial, working_grid(box, spacing, multiple))
    iterations = schedule.iterations_for(config, device.type)
    progress.plan = _plan(config, device, pair.grid, iterations)
    if on_preview is not None:
        progress.on_preview = _previewer(_tensor(sampled(uptake, pair.grid, initial), device), pair.grid, on_preview)
    displacement = _optimised(pair, config, iterations, device, progress)
    extended, grid = transforms.tapered(transforms.voxel_field(displacement), pair.grid)
    transform = transforms.then(transforms.from_voxels(extended, grid), initial)
    body = sitk.GetArrayFromImage(follow_up.body) > 0
    provenance = {
        "device": devices.label_of(device),
        "spacing_mm": spacing,
        "grid": list(pair.grid.size),
        "iterations": list(iterations[: optimize.levels_run(config)]),
        "bfloat16": devices.prefers_bfloat16(device),
        "plan": progress.plan,
        "stopped_early": progress.stopped_early,
        "initial_transform": _described(initial),
        "seconds": round(time.monotonic() - started, 2),
        "peak_memory_mb": devices.peak_memory_mb(device),
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
    )


def _identical(fixed: sitk.Image, moving: sitk.Image) -> bool:
    same_place = Geometry.from_image(fixed) == Geometry.from_image(moving)
    return same_place and np.array_equal(sitk.GetArrayViewFromImage(fixed), sitk.GetArrayViewFromImage(moving))


def _multiple(config: Config) -> int:
    direct_levels = max(len(config.start), len(config.finish), 1)
    return max(multiple_of(config.depth), 2 ** (direct_levels - 1))


def _plan(config: Config, device: torch.device, grid: Geometry, iterations: tuple[int, ...]) -> str:
    size = " × ".join(str(n) for n in grid.size)
    parts = [f"Preset {config.preset} on {devices.label_of(device)}: {size} voxels of {grid.spacing[0]:g} mm"]
    if config.start:
        parts.append(f"start with {'+'.join(map(str, config.start))} iterations")
    run = iterations[: optimize.levels_run(config)]
    if run:
        parts.append(f"network with {'+'.join(map(str, run))} iterations")
    if config.finish:
        parts.append(f"finish with {'+'.join(map(str, config.finish))} iterations")
    return ", ".join(parts) + "."


def _optimised(
    pair: WorkingPair, config: Config, iterations: tuple[int, ...], device: torch.device, progress: Progress
) -> torch.Tensor:
    shape = pair.grid.shape
    progress.stages = [
        *direct.stages("start", config.start, shape),
        *optimize.stages(config, iterations, shape),
        *direct.stages("finish", config.finish, shape),
    ]
    try:
        fixed, moving, weight = (_tensor(array, device) for array in (pair.fixed, pair.moving, pair.weight))
        start = None
        if config.start:
            still = fields.zeros(shape, device)
            start = direct.descend("start", fixed, moving, weight, config.start, progress, still)
        mixed = devices.prefers_bfloat16(device)
        found = optimize.optimize(fixed, moving, weight, config, iterations, progress, start, mixed)
        return direct.descend("finish", fixed, moving, weight, config.finish, progress, found)
    except (torch.OutOfMemoryError, MemoryError):
        raise _out_of_memory(pair.grid, device) from None
    except RuntimeError as error:
        if "allocate memory" in str(error):  # how PyTorch's CPU allocator says it
            raise _out_of_memory(pair.grid, device) from None
        raise


def _previewer(
    moving: torch.Tensor, grid: Geometry, on_preview: Callable[[sitk.Image], None]
) -> Callable[[Callable[[], torch.Tensor]], None]:
    """What makes a preview of a displacement: `moving` `[1, 1, z, y, x]`, on the working grid, warped by it."""

    def show(displacement: Callable[[], torch.Tensor]) -> None:
        with torch.no_grad():
            warped = fields.warp(moving, fields.resize(displacement(), grid.shape))
        on_preview(grid.image(warped[0, 0].cpu().numpy()))

    return show


def _out_of_memory(grid: Geometry, device: torch.device) -> OutOfMemory:
    size = " × ".join(str(n) for n in grid.size)
    coarser = 1.25 * grid.spacing[0]
    return OutOfMemory(
        f"Not enough memory on {devices.label_of(device)} for {size} voxels; use a coarser spacing such as "
        f"{coarser:.1f} mm."
    )


def _tensor(array: Floats, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))[None, None].to(device)


def _described(transform: sitk.Transform) -> dict[str, Any]:
    linear = transform.IsLinear()
    return {"name": transform.GetName(), "parameters": list(transform.GetParameters()) if linear else None}
