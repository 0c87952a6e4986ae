"""VoxelMorph's U-Net (Balakrishnan et al. 2019), as its diffeomorphic form uses it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ENCODER = (16, 32, 32, 32)  # features, halving the grid after each
DECODER = (32, 32, 32, 32)  # doubling it after each
FULL = (32, 16, 16)  # on the full grid
SLOPE = 0.2
HEAD_START = 1e-5  # an untrained network registers nothing


def _conv(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv3d(inputs, outputs, 3, padding=1), nn.LeakyReLU(SLOPE))


class UNet(nn.Module):
    """Moving and fixed `[1, 2, z, y, x]` → a vector in voxels (x, y, z) at each, `[1, 3, z, y, x]`.

    Every side must divide by 16.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([_conv(n, m) for n, m in zip((2, *ENCODER), ENCODER, strict=False)])
        skipped = (0, *ENCODER[:0:-1])
        self.decoder = nn.ModuleList(
            [_conv(n + s, m) for n, s, m in zip((ENCODER[-1], *DECODER), skipped, DECODER, strict=False)]
        )
        inputs = DECODER[-1] + ENCODER[0]
        self.full = nn.Sequential(*[_conv(n, m) for n, m in zip((inputs, *FULL), FULL, strict=False)])
        self.head = nn.Conv3d(FULL[-1], 3, 3, padding=1)
        nn.init.normal_(self.head.weight, std=HEAD_START)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        features, skipped = images, []
        for conv in self.encoder:
            features = conv(features)
            skipped.append(features)
            features = F.max_pool3d(features, 2)
        for conv in self.decoder:
            features = F.interpolate(conv(features), scale_factor=2, mode="nearest")
            features = torch.cat([features, skipped.pop()], dim=1)
        return self.head(self.full(features))
