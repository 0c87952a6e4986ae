"""Displacement and velocity fields as tensors: warping, integration, composition, inversion, Jacobian determinant.

Fields are `[1, 3, z, y, x]`, components (x, y, z), in unit coordinates: [-1, 1] spans the outer faces of the volume
(`align_corners=False`), so a unit displacement is the same length in mm at every level of a pyramid. A displacement
u maps a point p of the fixed image to p + u(p) of the moving image.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from . import kernels

MOST_SLABS = 16
INTEGRATION_STEPS = 7  # as LapIRN and Dalca et al. 2019
FIXED_POINT_STEPS = 3  # of an inverse
CLOSE = 1e-3  # voxels
Shape = tuple[int, int, int]


@lru_cache(maxsize=16)
def unit_grid(shape: Shape, device: torch.device) -> Tensor:
    """Unit coordinates of the voxel centres, `[1, 3, z, y, x]`."""
    axes = [(torch.arange(n, device=device, dtype=torch.float32) + 0.5) * (2.0 / n) - 1.0 for n in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z])[None]


def shape_of(field: Tensor) -> Shape:
    depth, height, width = field.shape[2:]
    return depth, height, width


def zeros(shape: Shape, device: torch.device) -> Tensor:
    return torch.zeros(1, 3, *shape, device=device)


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """image(p + u(p)), trilinear, `[1, c, z, y, x]`; outside the volume its border value."""
    fused = _kernels(image, displacement)
    if fused is not None:
        found: Tensor = fused.warp(image, displacement)
        return found
    points = unit_grid(shape_of(displacement), displacement.device) + displacement
    return _sampled(image, points.permute(0, 2, 3, 4, 1))


def _kernels(image: Tensor, displacement: Tensor) -> ModuleType | None:
    pulled = torch.is_grad_enabled() and (image.requires_grad or displacement.requires_grad)
    return kernels.working("fused_gradients" if pulled else "fused_fields", displacement.device)


def _sampled(image: Tensor, grid: Tensor) -> Tensor:
    """`image` at `grid` `[1, z, y, x, 3]`, in as many slabs as a CPU has threads: PyTorch gives each whole images."""
    depth = grid.shape[1]
    slabs = _slabs(depth, torch.get_num_threads()) if grid.device.type == "cpu" else 1
    batch = image.expand(slabs, -1, -1, -1, -1)
    grid = grid.reshape(slabs, depth // slabs, *grid.shape[2:])
    out = F.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return out.transpose(0, 1).reshape(1, image.shape[1], depth, *grid.shape[2:4])


def _slabs(depth: int, threads: int) -> int:
    """Slabs of equal thickness; MOST_SLABS at most, because each has the image's gradient of its own."""
    return max(n for n in range(1, min(threads, MOST_SLABS, depth) + 1) if depth % n == 0)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The displacement of p → outer(inner(p)): inner first, as a map of points."""
    fused = _kernels(outer, inner)
    if fused is not None:
        found: Tensor = fused.compose(outer, inner)
        return found
    return inner + warp(outer, inner)


def integrate(velocity: Tensor, steps: int = INTEGRATION_STEPS) -> Tensor:
    """exp(velocity) by scaling and squaring: the displacement at time 1 of the stationary velocity."""
    displacement = velocity / 2**steps
    for _ in range(steps):
        displacement = compose(displacement, displacement)
    return displacement


def resize(field: Tensor, shape: Shape) -> Tensor:
    """Trilinear resampling to another grid over the same volume; unit coordinates need no rescaling."""
    if shape_of(field) == shape:
        return field
    return F.interpolate(field, size=shape, mode="trilinear", align_corners=False)


@lru_cache(maxsize=16)  # made once: to bring it to a GPU makes the host wait
def _half_voxels(shape: Shape, device: torch.device) -> Tensor:
    depth, height, width = shape
    return torch.tensor([width, height, depth], device=device, dtype=torch.float32).view(1, 3, 1, 1, 1) / 2


def to_voxels(field: Tensor) -> Tensor:
    """Unit coordinates to voxels of the field's own grid."""
    return field * _half_voxels(shape_of(field), field.device)


def from_voxels(field: Tensor) -> Tensor:
    """Voxels of the field's own grid to unit coordinates."""
    return field / _half_voxels(shape_of(field), field.device)


def voxel_field(displacement: Tensor) -> npt.NDArray[np.float64]:
    """A unit displacement `[1, 3, z, y, x]` as voxels `[z, y, x, 3]`."""
    return to_voxels(displacement)[0].permute(1, 2, 3, 0).cpu().double().numpy()


def unit_field(displacement: npt.NDArray[np.float64]) -> Tensor:
    """Voxels `[z, y, x, 3]` as a unit displacement `[1, 3, z, y, x]`."""
    return from_voxels(torch.from_numpy(displacement).float().permute(3, 0, 1, 2)[None])


def jacobian_determinant(displacement: Tensor) -> Tensor:
    """det J of p → p + u(p) by forward differences, `[1, z-1, y-1, x-1]`; u in **voxels**."""
    u = displacement[:, :, :-1, :-1, :-1]
    dx = displacement[:, :, :-1, :-1, 1:] - u
    dy = displacement[:, :, :-1, 1:, :-1] - u
    dz = displacement[:, :, 1:, :-1, :-1] - u
    a, b, c = dx[:, 0] + 1, dx[:, 1], dx[:, 2]
    d, e, f = dy[:, 0], dy[:, 1] + 1, dy[:, 2]
    g, h, i = dz[:, 0], dz[:, 1], dz[:, 2] + 1
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def _gradient(displacement: Tensor) -> Tensor:
    """∂u_j/∂p_i of a field in voxels by central differences, `[1, 3 (u_j), 3 (p_i: x, y, z), z, y, x]`."""
    dz, dy, dx = torch.gradient(displacement, dim=(2, 3, 4))
    return torch.stack([dx, dy, dz], dim=2)


def invert(displacement: Tensor, iterations: int = 30) -> Tensor:
    """The displacement v with (p + v(p)) + u(p + v(p)) = p.

    Fixed-point steps v ← v - (v + u(p + v)) bring most voxels there, but diverge where the map stretches more than
    twofold, as around a filling bladder. What is not there after a few goes on by damped Newton steps, from the
    beginning where it is no nearer than that.
    """
    shape = shape_of(displacement)
    inverse = -displacement
    left = compose(displacement, inverse)
    for _ in range(FIXED_POINT_STEPS):
        inverse = inverse - left
        left = compose(displacement, inverse)
    u, inverse, left = (to_voxels(field).reshape(3, -1) for field in (displacement, inverse, left))
    inverse = torch.where(_length(left) < _length(u), inverse, 0)
    moving = (_length(left) >= CLOSE).nonzero()[:, 0]
    jacobian = _gradient(u.view(1, 3, *shape))
    jacobian += torch.eye(3, device=u.device).view(1, 3, 3, 1, 1, 1)
    maps = torch.cat([u.view(1, 3, *shape), jacobian.reshape(1, 9, *shape)], dim=1)
    half = _half_voxels(shape, u.device).view(3, 1)
    points = unit_grid(shape, u.device).reshape(3, -1)
    for _ in range(iterations):
        if len(moving) == 0:
            break
        v = inverse[:, moving]
        there = _at(maps, points[:, moving] + v / half)
        step = _solve(there[3:], v + there[:3])
        length = _length(step)
        inverse[:, moving] = v - step * (2.0 / length.clamp_min(2.0))  # at most two voxels a step
        moving = moving[length >= CLOSE]
    return from_voxels(inverse.reshape(1, 3, *shape))


def _length(vectors: Tensor) -> Tensor:
    """Of `[3, n]`."""
    x, y, z = vectors
    return (x * x + y * y + z * z).sqrt()


def _at(maps: Tensor, points: Tensor) -> Tensor:
    """`[1, c, z, y, x]` maps at unit coordinates `[3, n]`, trilinear: `[c, n]`."""
    count = points.shape[1]
    points = F.pad(points, (0, -count % MOST_SLABS))  # else so many may not divide by the number of slabs
    return _sampled(maps, points.T.reshape(1, -1, 1, 1, 3)).reshape(len(maps[0]), -1)[:, :count]


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve 3×3 systems by Cramer's rule: matrix `[9, n]`, row by row, right `[3, n]`."""
    a, b, c, d, e, f, g, h, i = matrix
    x, y, z = right
    determinant = a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g)
    determinant = torch.where(determinant.abs() < 0.05, torch.full_like(determinant, 0.05), determinant)
    solved = [
        x * (e * i - f * h) + y * (c * h - b * i) + z * (b * f - c * e),
        x * (f * g - d * i) + y * (a * i - c * g) + z * (c * d - a * f),
        x * (d * h - e * g) + y * (b * g - a * h) + z * (a * e - b * d),
    ]
    return torch.stack(solved) / determinant
