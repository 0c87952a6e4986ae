"""LNCC, value and gradient: ours against window sums by convolution.   python benchmarks/lncc.py [--device cuda]

Both in one process, by turns, so that they share the machine's mood. `error` is the largest difference of the gradient
from the same formula in float64, relative to the largest gradient. The fixed image's sums, which ours makes once per
level, are not in its time. On a GPU, ours is Triton's kernels where they work, and `plain` the same without them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from unittest.mock import patch

import machine
import torch
import torch.nn.functional as F
from mirrba import losses
from torch import Tensor


def by_convolution(fixed: Tensor, warped: Tensor, window: int) -> Tensor:
    """As VoxelMorph and LapIRN write it: five convolutions with a cube of ones, and autograd."""
    kernel = torch.ones(1, 1, window, window, window, dtype=fixed.dtype, device=fixed.device)
    n = window**3

    def total(image: Tensor) -> Tensor:
        return F.conv3d(image, kernel, padding=window // 2)

    sum_fixed, sum_warped = total(fixed), total(warped)
    cross = total(fixed * warped) - sum_fixed * sum_warped / n
    var_fixed = total(fixed * fixed) - sum_fixed**2 / n
    var_warped = total(warped * warped) - sum_warped**2 / n
    return -(cross**2 / (var_fixed * var_warped + losses.EPSILON)).mean()


def without_kernels(ncc: losses.LocalNCC, warped: Tensor) -> Tensor:
    with patch.object(losses, "way_on", return_value=losses.Way(losses.terms, losses.box_sum)):
        return ncc(warped)


def timed(loss: Callable[[Tensor], Tensor], warped: Tensor) -> tuple[float, Tensor]:
    """Seconds of value and gradient, and the gradient."""
    machine.wait(warped.device)
    started = time.perf_counter()
    point = warped.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(point), point)
    machine.wait(warped.device)
    return time.perf_counter() - started, gradient


def compare(side: int, window: int, device: str, repeats: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(0)
    fixed, warped = (torch.rand(1, 1, side, side, side, generator=generator).to(device) for _ in range(2))
    ours = losses.LocalNCC(fixed, window)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "convolution": lambda w: by_convolution(fixed, w, window),
        "plain": lambda w: without_kernels(ours, w),
        "ours": ours,
    }
    if device == "cpu":
        del ways["plain"]  # that is ours there
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    gradients = {}
    for _ in range(repeats + 1):  # the first warms up
        for name, way in ways.items():
            took, gradients[name] = timed(way, warped)
            seconds[name].append(took)
    middle = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    _, truth = timed(lambda w: by_convolution(fixed.double(), w, window), warped.double())
    errors = {name: float((g.double() - truth).abs().max() / truth.abs().max()) for name, g in gradients.items()}
    return {
        "side": side,
        "window": window,
        **{f"{name}_s": round(took, 4) for name, took in middle.items()},
        "ratio": round(middle["convolution"] / middle["ours"], 1),
        "convolution_error": float(f"{errors['convolution']:.1e}"),
        "ours_error": float(f"{errors['ours']:.1e}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--windows", default="3,5,7,9")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for window in map(int, options.windows.split(",")):
        rows.append(compare(options.side, window, options.device, options.repeats))
        print(rows[-1], flush=True)
    machine.save(f"lncc-{options.device.split(':')[0]}", {"machine": machine.described(options.device), "rows": rows})


if __name__ == "__main__":
    main()
