"""Deformable 3-D convolution (Dai et al. 2017 in three dimensions), for the preset "Def Conv"."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from . import fields

TAPS = 27


class DeformableConv3d(nn.Module):
    """A 3×3×3 convolution, stride 1, zero padding, whose 27 taps move by learned offsets (in voxels).

    The offsets come from a convolution of the input initialised to zero, so the layer starts as the plain convolution
    with the same weight. Sampling is trilinear; outside the volume the input is zero.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # what nn.Conv3d starts from
        self.offsets = nn.Conv3d(inputs, 3 * TAPS, 3, padding=1, bias=False)
        nn.init.zeros_(self.offsets.weight)
        taps = [[tap % 3 - 1, tap // 3 % 3 - 1, tap // 9 - 1] for tap in range(TAPS)]
        self.taps: Tensor
        self.register_buffer("taps", torch.tensor(taps, dtype=torch.float32), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """`[1, inputs, z, y, x]` → `[1, outputs, z, y, x]`."""
        image = _at_least_float32(image)  # places in bfloat16 would be whole voxels off
        offsets = _at_least_float32(self.offsets(image))
        total: Tensor | None = None
        for tap in range(TAPS):
            place = offsets[:, 3 * tap : 3 * tap + 3] + self.taps[tap].view(1, 3, 1, 1, 1)
            kernel = self.weight[:, :, tap // 9, tap // 3 % 3, tap % 3]
            # Recomputed in the backward pass: 27 sampled copies of the input would not fit in memory.
            part = checkpoint(_tap, image, place, kernel, use_reentrant=False, preserve_rng_state=False)
            total = part if total is None else total + part
        assert total is not None
        return total


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _tap(image: Tensor, place: Tensor, kernel: Tensor) -> Tensor:
    shape = fields.shape_of(image)
    points = fields.unit_grid(shape, image.device) + fields.from_voxels(place)
    grid = points.permute(0, 2, 3, 4, 1)
    sampled = F.grid_sample(image, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return F.conv3d(sampled, kernel[:, :, None, None, None])
