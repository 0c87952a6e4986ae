"""Image pyramids: every level the average of 2×2×2 voxels of the finer one, so fixed, moving and field stay aligned."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .fields import Shape


def levels_of(image: Tensor, count: int) -> list[Tensor]:
    """`count` levels of `[1, 1, z, y, x]`, coarsest first. Every side must divide by 2^(count-1)."""
    levels = [image]
    for _ in range(count - 1):
        levels.insert(0, F.avg_pool3d(levels[0], 2))
    return levels


def multiple_of(depth: int) -> int:
    """What every side of the working grid must divide by: the coarsest level halves once more inside the network."""
    return 2**depth


def level_shapes(shape: Shape, count: int) -> list[Shape]:
    return [(shape[0] >> k, shape[1] >> k, shape[2] >> k) for k in reversed(range(count))]
