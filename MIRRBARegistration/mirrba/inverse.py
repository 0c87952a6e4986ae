"""The inverse of displacements and of ITK transforms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk
import torch

from . import devices, fields
from .errors import is_out_of_memory
from .geometry import Geometry
from .transforms import Array, as_affine, displacement_field, from_voxels, tapered, then

CPU = torch.device("cpu")


def inverse_displacement(displacement: Array, device: torch.device = CPU) -> Array:
    """The inverse of a tapered voxel displacement `[z, y, x, 3]`, on the same grid.

    Computed on `device`, or on the CPU where that has too little memory.
    """
    field = fields.unit_field(displacement)
    try:
        with devices.current(device):
            return fields.voxel_field(fields.invert(field.to(device)))
    except RuntimeError as error:
        if device == CPU or not is_out_of_memory(error):
            raise
    finally:
        fields.unit_grid.cache_clear()
    return fields.voxel_field(fields.invert(field))


def inverse_on(transform: sitk.Transform, grid: Geometry) -> sitk.Transform:
    """The inverse of any transform: linear ones exactly, displacement fields on their own grid, a composite part by
    part. A B-spline is sampled over its own domain, any other on `grid`; both with `grid`'s spacing.
    """
    transform = transform.Downcast()
    if transform.IsLinear():
        return as_affine(transform).GetInverse()
    if isinstance(transform, sitk.CompositeTransform):
        # ITK applies the last part first, so the inverse starts with the first.
        inverse = sitk.Transform(3, sitk.sitkIdentity)
        for k in range(transform.GetNumberOfTransforms()):
            inverse = then(inverse, inverse_on(transform.GetNthTransform(k), grid))
        return inverse
    if isinstance(transform, sitk.DisplacementFieldTransform):
        field = transform.GetDisplacementField()
        grid = Geometry.from_image(field)
    else:
        if isinstance(transform, sitk.BSplineTransform):
            grid = _domain(transform).resampled(min(grid.spacing))
        field = displacement_field(transform, grid)
    extended, larger = tapered(sitk.GetArrayFromImage(field) @ np.linalg.inv(grid.matrix).T, grid)
    return from_voxels(inverse_displacement(extended), larger)


def _domain(spline: sitk.BSplineTransform) -> Geometry:
    """Where it differs from the identity, as one large voxel."""
    size = spline.GetTransformDomainPhysicalDimensions()
    corner = Geometry((1, 1, 1), size, spline.GetTransformDomainOrigin(), spline.GetTransformDomainDirection())
    return replace(corner, origin=corner.point((0.5, 0.5, 0.5)))
