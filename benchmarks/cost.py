"""What an iteration costs: seconds and memory against voxels, for every level.

python benchmarks/cost.py [--device cuda] [--sides 48,64,96,128] [--presets mirrba,mirrba-depth-4-max-up,default]

Each size and preset in a process of its own, so that its peak memory is its own; noise for images, because the time
does not depend on what they show. All levels learn from the first iteration on, as in nine tenths of a run.
`schedule_s` is what the paper's schedule (1000 iterations on each lower level, 2000 on the finest) takes at these
seconds per iteration. `levels` has the networks of one to four levels at one size, `iterations` the seconds of so many
on every level, with a line through them. A size for which there is no memory is a row, too. Fits seconds =
a · voxels^b and draws benchmarks/results/cost-DEVICE.png.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import machine
import torch
from mirrba import devices, direct, fields, optimize, schedule
from mirrba.errors import is_out_of_memory
from mirrba.finished import FinishedStages
from mirrba.presets import resolve
from mirrba.progress import Progress, Stage


class Timed(Progress):
    """Tells how long each stage took, the device's queue included."""

    def __init__(self, stages: list[Stage], device: torch.device) -> None:
        super().__init__(stages)
        self.device = device
        self.marks: list[tuple[str, float]] = []

    def begin(self, name: str) -> None:
        self.mark(name)
        super().begin(name)

    def mark(self, name: str) -> None:
        machine.wait(self.device)
        self.marks.append((name, time.perf_counter()))

    def seconds(self) -> dict[str, float]:
        self.mark("the end")
        return {name: after - before for (name, before), (_, after) in pairwise(self.marks)}


def measure(preset: str, side: int, device: str, count: int) -> dict[str, Any]:
    """One size and preset, in this process."""
    where = torch.device(device)
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(1, 1, side, side, side, generator=generator).to(where) for _ in range(2)]
    before = devices.peak_memory_mb(where) or 0.0
    run(preset, 1, images)  # warms up
    return {
        "seconds_per_iteration": run(preset, count, images),
        "peak_mb": round(devices.peak_memory_mb(where) or 0),
        "peak_before_mb": round(before),
    }


def run(preset: str, count: int, images: list[torch.Tensor]) -> dict[str, float]:
    """Seconds of an iteration of every level, with at most `count` on each."""
    fixed, moving = images
    weight, shape = torch.ones_like(fixed), fields.shape_of(fixed)
    config = replace(resolve(preset), freeze=0.0)
    if config.start:
        counts = (count,) * len(config.start)
        progress = Timed(direct.stages("start", counts, shape), fixed.device)
        still = fields.zeros(shape, fixed.device)
        direct.descend("start", fixed, moving, weight, counts, config.window, progress, FinishedStages(), still)
    else:
        counts = (count,) * config.depth
        progress = Timed(optimize.stages(config, counts, shape), fixed.device)
        mixed = devices.prefers_bfloat16(fixed.device)
        optimize.optimize(fixed, moving, weight, config, counts, progress, FinishedStages(), mixed=mixed)
    done = {entry["stage"]: len(entry["loss"]) for entry in progress.history}
    return {stage: round(took / done[stage], 5) for stage, took in progress.seconds().items()}


DEPTHS = ("mirrba-depth-1", "mirrba-depth-2", "mirrba", "mirrba-depth-4")
COUNTS = (1, 2, 4, 8)
SIDE = 64  # of these
OUT_OF_MEMORY = 4  # exit code


def in_own_process(preset: str, side: int, device: str, iterations: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", preset, "--sides", str(side), "--device", device]
    command += ["--iterations", str(iterations)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found = json.loads(done.stdout.splitlines()[-1])
    elif done.returncode in (OUT_OF_MEMORY, -signal.SIGKILL):  # the latter by the system, which had none left
        found = {"failed": (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]}
    else:
        sys.exit(done.stderr)
    row = {"preset": preset, "side": side, "voxels": side**3, **found}
    if "seconds_per_iteration" in row and optimize.levels_run(resolve(preset)):
        row["schedule_s"] = paper_schedule(list(row["seconds_per_iteration"].values()))
    return row


def paper_schedule(seconds: list[float]) -> float:
    """Seconds of the paper's iterations, from those of one iteration of each level."""
    counts = [schedule.PAPER_ITERATIONS] * (len(seconds) - 1) + [schedule.PAPER_FINEST]
    return round(sum(n * s for n, s in zip(counts, seconds, strict=True)), 1)


def fitted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """seconds of the finest level = a · voxels^b, and MiB per million voxels, by least squares; per preset."""
    import numpy as np

    fits = {}
    for preset in dict.fromkeys(row["preset"] for row in rows):
        known = [row for row in rows if row["preset"] == preset and "peak_mb" in row]
        if len(known) < 2:
            continue
        voxels = np.array([row["voxels"] for row in known], float)
        finest = np.array([list(row["seconds_per_iteration"].values())[-1] for row in known])
        peak = np.array([row["peak_mb"] for row in known], float)
        power, log_a = np.polyfit(np.log(voxels), np.log(finest), 1)
        slope, base = np.polyfit(voxels / 1e6, peak, 1)
        fits[preset] = {
            "power": round(float(power), 2),
            "seconds_at_1e6_voxels": round(math.exp(float(log_a) + float(power) * math.log(1e6)), 3),
            "mb_per_1e6_voxels": round(float(slope)),
            "mb_at_0": round(float(base)),
        }
    return fits


def against_iterations(preset: str, device: str) -> dict[str, Any]:
    """Seconds of all levels together, and a line through them by least squares; or why one of them failed."""
    import numpy as np

    seconds = []
    for count in COUNTS:
        row = in_own_process(preset, SIDE, device, count)
        if "failed" in row:
            return {"preset": preset, "failed": row["failed"]}
        seconds.append(count * sum(row["seconds_per_iteration"].values()))
    slope, base = np.polyfit(COUNTS, seconds, 1)
    return {
        "preset": preset,
        "seconds": [round(took, 3) for took in seconds],
        "seconds_per_iteration": round(float(slope), 4),
        "seconds_at_0": round(float(base), 3),
    }


def draw(rows: list[dict[str, Any]], levels: list[dict[str, Any]], counted: list[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(10, 8), layout="constrained")
    time_axes, memory_axes, level_axes, iteration_axes = axes.flat
    for preset in dict.fromkeys(row["preset"] for row in rows):
        known = [row for row in rows if row["preset"] == preset and "peak_mb" in row]
        voxels = [row["voxels"] / 1e6 for row in known]
        time_axes.plot(voxels, [list(r["seconds_per_iteration"].values())[-1] for r in known], "o-", label=preset)
        memory_axes.plot(voxels, [row["peak_mb"] / 1024 for row in known], "o-", label=preset)
    time_axes.set(xscale="log", yscale="log", xlabel="voxels, millions", ylabel="s per iteration, finest level")
    memory_axes.set(xlabel="voxels, millions", ylabel="peak memory, GiB", ylim=(0, None))
    time_axes.legend()
    known = [row for row in levels if "peak_mb" in row]
    for title, value in (("all levels together", sum), ("the finest", max)):
        seconds = [value(row["seconds_per_iteration"].values()) for row in known]
        level_axes.plot([len(row["seconds_per_iteration"]) for row in known], seconds, "o-", label=title)
    level_axes.set(
        xlabel=f"levels of the network, {SIDE}³", ylabel="s per iteration", ylim=(0, None), xticks=(1, 2, 3, 4)
    )
    level_axes.legend()
    for row in (row for row in counted if "seconds" in row):
        iteration_axes.plot(COUNTS, row["seconds"], "o-", label=row["preset"])
    iteration_axes.set(xlabel=f"iterations on every level, {SIDE}³", ylabel="s", ylim=(0, None), xlim=(0, None))
    iteration_axes.legend()
    figure.savefig(path, dpi=110)
    print(f"-> {path}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--sides", default="32,64,96,128")
    parser.add_argument("--presets", default="mirrba,default")
    parser.add_argument("--iterations", type=int, default=1, help="timed, of each level, after one that warms up")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sides = [int(side) for side in options.sides.split(",")]
    if options.one:
        try:
            print(json.dumps(measure(options.one, sides[0], options.device, options.iterations)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            print("out of memory", file=sys.stderr)
            return OUT_OF_MEMORY
        return 0
    rows = []
    for preset in options.presets.split(","):
        for side in sides:
            rows.append(in_own_process(preset, side, options.device, options.iterations))
            print(rows[-1], flush=True)
    levels = [in_own_process(preset, SIDE, options.device, options.iterations) for preset in DEPTHS]
    counted = [against_iterations(preset, options.device) for preset in ("mirrba", "default")]
    name = f"cost-{options.device.split(':')[0]}"
    content = {"rows": rows, "fits": fitted(rows), "levels": levels, "iterations": counted}
    machine.save(name, {"machine": machine.described(options.device), **content})
    draw(rows, levels, counted, Path(__file__).parent / "results" / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
