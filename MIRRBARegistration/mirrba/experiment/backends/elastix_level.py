"""What elastix had found after one of its resolutions: the supplement's "Elastix Level 1…3"."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk

from ..displacement import read_field
from ..task import LEVEL_FILE, Registered, Task


def register(fixed: sitk.Image, moving: sitk.Image, workdir: Path, task: Task) -> Registered:
    config = dict(task.method.config)
    return Registered(read_field(task.files["start"].with_name(LEVEL_FILE.format(config["level"]))), 0.0, config)
