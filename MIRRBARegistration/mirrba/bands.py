"""Sums over the neighbours of every voxel, axis by axis, as products with banded matrices.

A CPU takes less time for the products, though most of what they multiply with is zero, than to add up shifted volumes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

BLOCK = 64  # rows of a matrix at once


def distances(size: int, like: Tensor) -> Tensor:
    """`[size, size]`: how many voxels lie between row and column; on the device of `like`, as its numbers."""
    at = torch.arange(size, device=like.device, dtype=like.dtype)
    return (at[:, None] - at).abs()


def along_axes(volume: Tensor, matrices: Sequence[Tensor], reach: int) -> Tensor:
    """Every line of `[1, c, z, y, x]` times the matrix of its axis: (z, y, x), each `[size, size]`, a row a voxel.

    A matrix is zero further than `reach` from its diagonal.
    """
    size_z, size_y, size_x = volume.shape[2:]
    along_z, along_y, along_x = matrices
    with torch.autocast(volume.device.type, enabled=False):
        product = volume @ along_x.T.contiguous()  # slow with a turned one
        product = _times(along_y, product.view(-1, size_y, size_x), reach)
        return _times(along_z, product.view(-1, size_z, size_y * size_x), reach).view(volume.shape)


def _times(matrix: Tensor, volume: Tensor, reach: int) -> Tensor:
    """The matrix times each `[size, n]` of the volume, without most of its zeros."""
    product = torch.empty_like(volume)
    for first in range(0, len(matrix), BLOCK):
        rows, near = slice(first, first + BLOCK), slice(max(0, first - reach), first + BLOCK + reach)
        product[:, rows] = matrix[rows, near] @ volume[:, near]
    return product
