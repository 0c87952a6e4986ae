"""Displacement fields: T(x) − x in mm, LPS, at every voxel of the fixed image; float32 vectors in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..errors import MirrbaError
from ..geometry import Geometry


def as_transform(field: sitk.Image) -> sitk.Transform:
    """The transform of a field. SimpleITK empties the image that it makes one of: this takes a copy."""
    return sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))


def read_field(path: Path) -> sitk.Image:
    return sitk.ReadImage(str(path), sitk.sitkVectorFloat32)


def write_field(field: sitk.Image, path: Path) -> None:
    sitk.WriteImage(field, str(path), useCompression=True)


def checked(field: sitk.Image, fixed: sitk.Image) -> sitk.Image:
    """The field as float32 on exactly the fixed grid. Raises MirrbaError for one that is not."""
    if field.GetNumberOfComponentsPerPixel() != 3 or field.GetSize() != fixed.GetSize():
        raise MirrbaError(
            f"The method gave a field of {field.GetSize()} voxels, but the fixed volume has {fixed.GetSize()}."
        )
    for name in ("Origin", "Spacing", "Direction"):
        if not np.allclose(getattr(field, f"Get{name}")(), getattr(fixed, f"Get{name}")(), atol=1e-3):
            raise MirrbaError(f"The method gave a field with another {name.lower()} than the fixed volume's.")
    values = sitk.GetArrayFromImage(field).astype(np.float32)
    if not np.isfinite(values).all():
        raise MirrbaError("The method gave a field with values that are not finite: it has diverged.")
    return Geometry.from_image(fixed).image(values, is_vector=True)
