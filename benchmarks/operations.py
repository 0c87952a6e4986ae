"""Where an iteration's time goes, by operation.   python benchmarks/operations.py [--device cuda] [--side 96]

One iteration of the finest network level of `mirrba`, and one step of the descent without network, under PyTorch's
profiler, after one that warms up; both as they are and `plain`: LNCC by convolution and autograd, float32, PyTorch's
own memory layout. `roofline` has what an iteration needs at least: its convolutions' arithmetic at the rate of a matrix
product, and what its operations read and write at the rate of a copy, both measured here.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import machine
import torch
import torch.nn.functional as F
from mirrba import devices, direct, fields, kernels, losses, optimize
from mirrba.finished import FinishedStages
from mirrba.presets import resolve
from mirrba.progress import Progress
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

SHOWN = 12
WINDOW = 7
STEPS = 4  # of one alone, the time is lost in that of what surrounds it
RUNS = 5  # of the product and of the copy that tell what the machine can do


def by_convolution(ncc: losses.LocalNCC, warped: torch.Tensor) -> torch.Tensor:
    """In place of LocalNCC's own: five convolutions with a cube of ones, and autograd."""
    kernel = torch.ones(1, 1, *[ncc.window] * 3, device=warped.device)
    n = ncc.window**3
    images = (ncc.fixed, warped, ncc.fixed * warped, ncc.fixed**2, warped**2)
    f, w, fw, ff, ww = (F.conv3d(image, kernel, padding=ncc.window // 2) for image in images)
    squared = (fw - f * w / n) ** 2 / ((ff - f**2 / n) * (ww - w**2 / n) + losses.EPSILON)
    if ncc.slack is None:
        return -(ncc.weight * squared).sum()
    return (ncc.weight * ((1 - squared).clamp_min(0) + ncc.slack).log()).sum() / 2


@contextmanager
def plainly() -> Iterator[None]:
    with (
        patch.object(losses.LocalNCC, "__call__", by_convolution),
        patch.object(torch, "channels_last_3d", torch.contiguous_format),
        patch.object(devices, "prefers_bfloat16", return_value=False),
        patch.object(kernels, "working", return_value=None),
        patch("mirrba.network._is_slow", lambda features: False),  # a mock would keep every tensor it is asked about
    ):
        yield


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
    progress = Progress(direct.stages("start", (iterations,), shape))
    direct.descend("start", fixed, moving, weight, (iterations,), WINDOW, progress, FinishedStages(), still)


class Traffic(TorchDispatchMode):
    """Bytes that PyTorch's operations read and write; views cost nothing. Triton's kernels are not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [t for t in tree_leaves((args, kwargs, found)) if isinstance(t, torch.Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in tensors)
        return found


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """The median of a few runs, after one that warms up."""
    took = []
    for _ in range(RUNS + 1):
        machine.wait(device)
        started = time.perf_counter()
        work()
        machine.wait(device)
        took.append(time.perf_counter() - started)
    return statistics.median(took[1:])


def limits(device: torch.device) -> dict[str, float]:
    """FLOP and bytes a second that this machine reaches."""
    kind = torch.bfloat16 if devices.prefers_bfloat16(device) else torch.float32
    matrix = torch.randn(4096, 4096, device=device).to(kind)
    source = torch.zeros(2**26, device=device)
    target = torch.empty_like(source)
    return {
        "flop_per_s": 2 * 4096**3 / seconds_of(lambda: matrix @ matrix, device),
        "bytes_per_s": 2 * 4 * 2**26 / seconds_of(lambda: target.copy_(source), device),
    }


def roofline(work: partial[None], reached: dict[str, float], device: torch.device) -> dict[str, float]:
    """Of one iteration, by the difference of one and several: what surrounds them does not count."""
    counted = []
    for iterations in (1, 1 + STEPS):
        with FlopCounterMode(display=False) as flop:
            work(iterations)
        with Traffic() as traffic:
            work(iterations)
        counted.append((flop.get_total_flops(), traffic.bytes, seconds_of(partial(work, iterations), device)))
    flops, read, seconds = ((after - before) / STEPS for before, after in zip(*counted, strict=True))
    return {
        "seconds": round(seconds, 4),
        "gigaflop": round(flops / 1e9, 1),
        "gigabytes": round(read / 1e9, 2),
        "arithmetic_floor_s": round(flops / reached["flop_per_s"], 4),
        "traffic_floor_s": round(read / reached["bytes_per_s"], 4),
    }


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
    on_gpu = device.type == "cuda"
    content: dict[str, Any] = {"machine": machine.described(options.device), "side": options.side}
    reached = content["limits"] = limits(device)
    content["roofline"] = {}
    for part in (network, descent):
        work = partial(part, fixed, moving)
        content[part.__name__] = by_operation(work, on_gpu)
        content["roofline"][part.__name__] = roofline(work, reached, device)
        with plainly():
            content[f"{part.__name__}, plain"] = by_operation(work, on_gpu)
    for name, table in content.items():
        print(name, table)
    machine.save(f"operations-{device.type}", content)


if __name__ == "__main__":
    main()
