"""What a device makes of our presets and of the paper's schedule.

python benchmarks/device.py [--device cuda] [--spacing 4] [--presets default,fast,mirrba] [--side 200]

One made pair, on which windows in millimetres and the rate of 1e-4 were settled (docs/gpu.md), each preset in a process
of its own; our presets run twice there, because the first run of a process also waits for the device to start and for
kernels to be compiled. Then the network's levels with the paper's 1000, 1000 and 2000 iterations in full on `side`³
voxels of noise: the time does not depend on what they show.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cost
import machine
import torch
from mirrba import devices, fields, optimize, schedule
from mirrba.experiment.cohort import read_cohort
from mirrba.experiment.scores import score
from mirrba.finished import FinishedStages
from mirrba.geometry import Geometry
from mirrba.images import read_volume
from mirrba.phantom import write_pairs
from mirrba.presets import resolve
from mirrba.registration import register
from mirrba.transforms import displacement_field

SEED = 600
SHOWN = ("dice_organs", "dice_lesions", "detection_rate", "disappearing_rate", "tre_mm", "tre_body_mm", "sd_jacobian")


def registered(preset: str, cohort: Path, device: str) -> dict[str, Any]:
    pair = read_cohort(cohort).pairs[0]
    fixed, moving = read_volume(pair.fixed), read_volume(pair.moving)
    config = resolve(preset, device=device)
    seconds = []
    for _ in range(1 if optimize.levels_run(config) else 2):
        started = time.perf_counter()
        found = register(fixed, moving, config)
        seconds.append(round(time.perf_counter() - started, 2))
    kept = ("grid", "window", "iterations", "learning_rate", "bfloat16", "peak_memory_mb")
    told = {name: found.provenance[name] for name in kept}
    scores = score(pair, displacement_field(found.transform, Geometry.from_image(fixed)))
    return {"preset": preset, "seconds": seconds, **told, **{name: scores[name] for name in SHOWN}}


def whole_schedule(side: int, device: str) -> dict[str, Any]:
    where, generator = torch.device(device), torch.Generator().manual_seed(0)
    fixed, moving = (torch.rand(1, 1, side, side, side, generator=generator).to(where) for _ in range(2))
    config = resolve("mirrba", init="none")
    counts = (*[schedule.PAPER_ITERATIONS] * (config.depth - 1), schedule.PAPER_FINEST)
    progress = cost.Timed(optimize.stages(config, counts, fields.shape_of(fixed)), where)
    mixed = devices.prefers_bfloat16(where)
    optimize.optimize(fixed, moving, torch.ones_like(fixed), config, counts, progress, FinishedStages(), mixed=mixed)
    levels = {stage: round(seconds, 2) for stage, seconds in progress.seconds().items()}
    peak = devices.peak_memory_mb(where)
    return {"side": side, "iterations": counts, "levels": levels, "seconds": sum(levels.values()), "peak_mb": peak}


def in_own_process(part: str, value: str, options: argparse.Namespace, cohort: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--device", options.device, f"--only-{part}", value, "--cohort", str(cohort)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, Any] = {part: value, "failed": (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}
    if done.returncode == 0:
        found = json.loads(done.stdout.splitlines()[-1])
    print(found, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--spacing", type=float, default=4.0)
    parser.add_argument("--presets", default="default,fast,mirrba")
    parser.add_argument("--side", type=int, default=200)
    for part in ("--only-preset", "--only-schedule", "--cohort"):
        parser.add_argument(part, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only_preset:
        print(json.dumps(registered(options.only_preset, Path(options.cohort), options.device)))
        return
    if options.only_schedule:
        print(json.dumps(whole_schedule(int(options.only_schedule), options.device)))
        return
    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(folder) / "pairs"
        write_pairs(cohort, 2, options.spacing, SEED)
        content: dict[str, Any] = {"machine": machine.described(options.device), "spacing": options.spacing}
        content |= {"seed": SEED, "rows": [], "schedule": None}
        for preset in options.presets.split(","):
            content["rows"].append(in_own_process("preset", preset, options, cohort))
            machine.save(f"device-{options.device}", content)  # a lent machine may go before the schedule has ended
        content["schedule"] = in_own_process("schedule", str(options.side), options, cohort)
        machine.save(f"device-{options.device}", content)


if __name__ == "__main__":
    main()
