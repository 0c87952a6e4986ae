"""Where an iteration's time goes, by operation.   python benchmarks/operations.py [--device cuda] [--side 96]

One iteration of the finest network level of `mirrba`, and one step of the descent without network, under PyTorch's
profiler, after one that warms up.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import machine
import torch
from mirrba import devices, direct, fields, optimize
from mirrba.finished import FinishedStages
from mirrba.presets import resolve
from mirrba.progress import Progress
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

SHOWN = 12
WINDOWS = (7,)


def network(fixed: torch.Tensor, moving: torch.Tensor, iterations: int) -> None:
    config = resolve("mirrba", freeze=0.0)
    counts = (0, 0, iterations)
    stages = optimize.stages(config, counts, fields.shape_of(fixed))
    mixed = devices.prefers_bfloat16(fixed.device)
    weight = torch.ones_like(fixed)
    optimize.optimize(fixed, moving, weight, config, counts, Progress(stages), FinishedStages(), mixed=mixed)


def descent(fixed: torch.Tensor, moving: torch.Tensor, iterations: int) -> None:
    shape = fields.shape_of(fixed)
    weight, still = torch.ones_like(fixed), fields.zeros(shape, fixed.device)
    progress = Progress(direct.stages("start", (iterations,), shape, WINDOWS))
    direct.descend("start", fixed, moving, weight, (iterations,), WINDOWS, progress, FinishedStages(), still)


def by_operation(work: partial[None], on_gpu: bool) -> dict[str, Any]:
    """Percent of the time that operations take themselves, the largest first; on a GPU its kernels."""
    work(1)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, profile_memory=True) as profiled:
        work(3)
    own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    found = profiled.key_averages()
    if on_gpu:
        found = [row for row in found if row.device_type == DeviceType.CUDA and not row.is_user_annotation]
    rows = sorted(found, key=lambda row: getattr(row, own), reverse=True)
    total = sum(getattr(row, own) for row in rows)
    shares = {row.key: round(100 * getattr(row, own) / total, 1) for row in rows[:SHOWN]}
    return {"milliseconds_of_3": round(total / 1000, 1), "percent": shares}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side", type=int, default=96)
    options = parser.parse_args()
    device = torch.device(options.device)
    generator = torch.Generator().manual_seed(0)
    shape = (1, 1, options.side, options.side, options.side)
    fixed, moving = (torch.rand(shape, generator=generator).to(device) for _ in range(2))
    found = {
        part.__name__: by_operation(partial(part, fixed, moving), device.type == "cuda") for part in (network, descent)
    }
    for part, table in found.items():
        print(part, table)
    content = {"machine": machine.described(options.device), "side": options.side, **found}
    machine.save(f"operations-{device.type}", content)


if __name__ == "__main__":
    main()
