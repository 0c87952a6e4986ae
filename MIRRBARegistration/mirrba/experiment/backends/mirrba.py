"""MIRRBA itself; with a start, the paper's "Combined": the moving volume warped by it is what the network sees."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ... import devices, resources, transforms
from ...errors import InputError
from ...geometry import Geometry
from ...presets import resolve
from ...registration import register as registration
from ...transforms import displacement_field
from ..displacement import read_field
from ..task import Registered, Task


def register(fixed: sitk.Image, moving: sitk.Image, workdir: Path, task: Task) -> Registered:
    resources.keep_memory()
    config = dict(task.method.config)
    if task.method.start is not None:
        config["init"] = str(_start(task, workdir))
    resolved = resolve(**config, device=task.settings.device, seed=task.settings.seed)
    result = registration(fixed, moving, resolved)
    parameters = {**asdict(resolved), "init": task.method.start.name if task.method.start else resolved.init}
    more = {key: value for key, value in result.provenance.items() if key not in ("seconds", "peak_memory_mb")}
    if devices.choose(resolved.device).type == "cuda":
        more["device_memory_mb"] = result.provenance["peak_memory_mb"]
    displacement = displacement_field(result.transform, Geometry.from_image(fixed))
    return Registered(displacement, result.provenance["seconds"], parameters, more)


def _start(task: Task, workdir: Path) -> Path:
    """The field to start from as a transform file that the engine reads: it warps by it first and composes."""
    if "start" not in task.files:
        raise InputError(f"{task.method.title} needs the field that it starts from; give it as the file 'start'.")
    field = read_field(task.files["start"])
    grid = Geometry.from_image(field)
    voxels = sitk.GetArrayFromImage(field).astype(np.float64) @ np.linalg.inv(grid.matrix).T
    # Beyond its grid a field counts as zero, but points next to the face must not jump.
    path = workdir / "start.h5"
    transforms.write_transform(transforms.from_voxels(*transforms.tapered(voxels, grid)), path)
    return path
