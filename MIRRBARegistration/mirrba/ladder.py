"""What a run does when memory runs out: the ways to run, from the preset's own down to the least demanding.

docs/reliability.md explains the ladder. What the user has set (spacing, device) is never changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from . import devices, schedule
from .optimize import levels_run
from .presets import Config

COARSER = 1.25  # times the spacing, so half the voxels
COARSER_STEPS = 3


@dataclass(frozen=True)
class Way:
    """One way to run. `mixed`: convolutions in bfloat16; `recompute`: activations are computed twice, not kept;
    `coarser`: how often the grid was made coarser.
    """

    device: torch.device
    mixed: bool
    recompute: bool = False
    coarser: int = 0

    def spacing(self, chosen: float) -> float:
        """The working spacing in mm, from the one that the user or the schedule has chosen."""
        return schedule.rounded_up(chosen * COARSER**self.coarser) if self.coarser else chosen


def first(device: torch.device) -> Way:
    return Way(device, devices.prefers_bfloat16(device))


def below(way: Way, config: Config) -> tuple[Way, str] | None:
    """The next way down, and what is said of it; None at the foot of the ladder."""
    label = devices.label_of(way.device)
    network = config.architecture and levels_run(config) > 0
    if network and not way.recompute:
        return replace(way, recompute=True), (
            f"Not enough memory on {label}: parts of the network are now computed twice instead of kept, which takes "
            "longer and changes nothing in the result."
        )
    if network and not way.mixed and devices.supports_bfloat16(way.device):
        return replace(way, mixed=True), (
            f"Not enough memory on {label}: the network now computes in bfloat16, which changes the result slightly."
        )
    if config.spacing is None and way.coarser < COARSER_STEPS:
        times = COARSER ** (way.coarser + 1)
        return replace(way, coarser=way.coarser + 1), (
            f"Not enough memory on {label}: the working grid is now {times:.3g} times as coarse, so the result is less "
            "detailed; crop the volumes or use a device with more memory for the full detail."
        )
    if config.device == "auto" and way.device.type != "cpu":
        return first(torch.device("cpu")), (
            f"Not enough memory on {label}: the registration now runs on the CPU, with the CPU's shorter schedule."
        )
    return None
