"""SyN and SyNCC by antspyx. Leaves ants_1Warp.nii.gz and ants_0GenericAffine.mat in its folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ...geometry import Geometry
from ...transforms import displacement_field, read_transform, then
from ..task import Registered, Task
from .intensities import prepared

PREFIX = "ants_"


def register(fixed: sitk.Image, moving: sitk.Image, workdir: Path, task: Task) -> Registered:
    import ants

    config = dict(task.method.config)
    how = config.pop("intensities")
    images = [as_ants(prepared(image, how)) for image in (fixed, moving)]
    parameters: dict[str, Any] = {**config, "random_seed": task.settings.seed + 1}  # 0 would be no seed
    calls = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
    started = time.monotonic()
    found = ants.registration(*images, outprefix=str(workdir / PREFIX), **calls)
    seconds = time.monotonic() - started
    # ANTs lists them last first: the affine takes what the warp gives.
    steps = [_read(Path(path)) for path in reversed(found["fwdtransforms"])]
    transform = steps[-1]
    for step in reversed(steps[:-1]):
        transform = then(transform, step)
    return Registered(
        displacement_field(transform, Geometry.from_image(fixed)), seconds, {"intensities": how, **parameters}
    )


def as_ants(image: sitk.Image) -> Any:
    """Without a file: NIfTI would round the geometry."""
    import ants

    # ANTs' arrays are [x, y, z].
    array = np.ascontiguousarray(sitk.GetArrayFromImage(image).T)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return ants.from_numpy(array, list(image.GetOrigin()), list(image.GetSpacing()), direction)


def _read(path: Path) -> sitk.Transform:
    if path.name.endswith(".mat"):
        return read_transform(path)
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
