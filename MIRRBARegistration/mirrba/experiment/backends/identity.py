"""No registration at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...geometry import Geometry
from ..task import Registered, Task


def register(fixed: sitk.Image, moving: sitk.Image, workdir: Path, task: Task) -> Registered:
    grid = Geometry.from_image(fixed)
    return Registered(grid.image(np.zeros((*grid.shape, 3), np.float32), is_vector=True), 0.0, {})
