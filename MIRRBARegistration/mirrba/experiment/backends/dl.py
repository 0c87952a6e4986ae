"""Inference of a network that was trained on other pairs of the cohort."""

from __future__ import annotations

import time
from pathlib import Path

import SimpleITK as sitk
import torch

from ... import devices, fields, transforms
from ...errors import InputError
from ...geometry import Geometry
from ...transforms import displacement_field
from ..checkpoint import read_checkpoint
from ..learning import example_of, network_of
from ..task import Registered, Task


def register(fixed: sitk.Image, moving: sitk.Image, workdir: Path, task: Task) -> Registered:
    if "checkpoint" not in task.files:
        raise InputError(f"{task.method.title} needs the network that was trained for it; give it as 'checkpoint'.")
    settings = task.method.config
    device = devices.choose(task.settings.device)
    mixed = devices.prefers_bfloat16(device)
    network = network_of(settings, mixed)
    read_checkpoint(network, task.files["checkpoint"])
    network = network.to(device).eval()
    started = time.monotonic()
    example, grid, initial = example_of(fixed, moving, settings)
    with devices.current(device), torch.no_grad():
        displacement = network.displacement(example.to(device))
    extended, larger = transforms.tapered(fields.voxel_field(displacement), grid)
    transform = transforms.then(transforms.from_voxels(extended, larger), initial)
    seconds = time.monotonic() - started
    more = {"device": devices.label_of(device), "grid": list(grid.size), "bfloat16": mixed}
    if device.type == "cuda":
        more["device_memory_mb"] = devices.peak_memory_mb(device)
    return Registered(displacement_field(transform, Geometry.from_image(fixed)), seconds, settings, more)
