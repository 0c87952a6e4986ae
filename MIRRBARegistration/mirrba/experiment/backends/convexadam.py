"""ConvexAdam: discrete displacements coupled convexly, then Adam on the field, by features of the package's own."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ... import devices
from ...geometry import Geometry
from ..task import Registered, Task
from .intensities import prepared


def register(fixed: sitk.Image, moving: sitk.Image, workdir: Path, task: Task) -> Registered:
    from convexAdam.convex_adam_MIND import convex_adam_pt

    parameters = dict(task.method.config)
    how = parameters.pop("intensities")
    device = devices.choose(task.settings.device)
    started = time.monotonic()
    # The package knows voxels only: it needs both volumes on one grid.
    on_fixed = sitk.Resample(prepared(moving, how), fixed, sitk.Transform(), sitk.sitkLinear, 0.0)
    arrays = [sitk.GetArrayFromImage(image) for image in (prepared(fixed, how), on_fixed)]
    voxels = convex_adam_pt(*arrays, **parameters, device=device)
    seconds = time.monotonic() - started
    grid = Geometry.from_image(fixed)
    # Its components are along the array's axes, z first.
    displacement = np.asarray(voxels)[..., ::-1] @ grid.matrix.T
    return Registered(grid.image(displacement.astype(np.float32), is_vector=True), seconds, dict(task.method.config))
