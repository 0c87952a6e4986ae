"""`register()`: two PET volumes in, a transform out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from . import transforms
from .finished import FinishedStages
from .geometry import Geometry
from .images import Floats, Mask, Prepared, check_volume
from .initialise import initial_transform
from .metrics import jacobian_determinant
from .presets import Config, resolve
from .progress import Event, Progress, Stage

if TYPE_CHECKING:
    import torch

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
            from . import inverse

            back = inverse.inverse_displacement(self._displacement, self._device)
            start = inverse.inverse_on(self._initial, self._moving.resampled(self._grid.spacing[0]))
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
    progress = Progress([Stage(PREPARE, 1, 0.0)], on_progress, should_stop, should_keep)
    progress.begin(PREPARE)
    follow_up = Prepared.of(check_volume(fixed, "fixed volume"), "fixed volume")
    uptake = check_volume(moving, "moving volume")
    baseline = Prepared.of(uptake, "moving volume")
    if _identical(follow_up.image, baseline.image):
        log.warning("The fixed and the moving volume are identical; check that they are two examinations.")
    progress.check()
    with ThreadPoolExecutor(1) as loader:  # loading torch takes seconds; ITK lets Python work meanwhile
        loading = loader.submit(_device, config)
        initial = initial_transform(config.init, follow_up, baseline)
        progress.check()
        device = loading.result()
    from . import deformation, devices

    aligned = deformation.Aligned(follow_up, baseline, uptake, initial, min(fixed.GetSpacing()))
    finished = finished or FinishedStages()
    found = deformation.deform(aligned, config, device, progress, finished, on_preview)
    extended, grid = transforms.tapered(found.displacement, found.grid)
    transform = transforms.then(transforms.from_voxels(extended, grid), initial)
    body = sitk.GetArrayFromImage(follow_up.body) > 0
    provenance = {
        **found.settings,
        "plan": progress.plan,
        "departures": progress.departures,
        "resumed": finished.resumed,
        "stopped_early": progress.stopped_early,
        "initial_transform": _described(initial),
        "seconds": round(time.monotonic() - started, 2),
        "peak_memory_mb": devices.peak_memory_mb(found.device),
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
        found.device,
    )


def _device(config: Config) -> torch.device:
    """Ready for `deform`, which takes a while: torch is loaded, on a GPU kernels are compiled."""
    from .deformation import ready

    return ready(config)


def _identical(fixed: sitk.Image, moving: sitk.Image) -> bool:
    same_place = Geometry.from_image(fixed) == Geometry.from_image(moving)
    return same_place and np.array_equal(sitk.GetArrayViewFromImage(fixed), sitk.GetArrayViewFromImage(moving))


def _described(transform: sitk.Transform) -> dict[str, Any]:
    if not transform.IsLinear():
        return {"name": transform.GetName(), "parameters": None}
    numbers = {"parameters": transform.GetParameters(), "fixed_parameters": transform.GetFixedParameters()}
    return {"name": transform.GetName(), **{name: list(values) for name, values in numbers.items()}}
