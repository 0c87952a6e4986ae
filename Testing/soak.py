"""Twenty registrations in one process: does what it holds grow?   make soak

One after the other, from files to files, by turns with the network and without. After each: the memory that is in use
and the resident memory (after what is free was given back), the living tensors, threads and open files. Fails where the
second half holds more than the first. Linux with glibc only.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mirrba import job as jobs
from mirrba import resources
from mirrba.phantom import write_pairs
from mirrba.presets import resolve

RUNS = 20
SETTLING = 6  # runs that fill the caches and the allocator's free lists
# Growth between the middles of the two halves. One field that is kept a run would be 5 MB a run, 35 MB there.
ALLOWED = {"allocated_mb": 2.0, "resident_mb": 5.0, "tensors": 0, "threads": 0, "files": 0}
NETWORK = {"stop_level": 2, "iterations": "6,6,6,1", "init": "affine", "finish": "5,5"}
CONFIGS = (
    resolve("mirrba-depth-4-max-up", device="cpu", spacing=16, **NETWORK),
    resolve("fast", device="cpu", spacing=12, start="10,10,10"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, help="the measurements, as JSON")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"at least {SETTLING + 2} (default: {RUNS})")
    options = parser.parse_args()
    resources.share_cores()
    resources.keep_memory()
    with tempfile.TemporaryDirectory() as folder:
        measured = soak(Path(folder), options.runs)
    report = {"commit": commit(), "machine": machine(), **verdict(measured), "runs": measured}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in report.items() if key != "runs"}, indent=1))
    return 0 if report["steady"] else 1


def soak(folder: Path, runs: int) -> list[dict[str, float]]:
    write_pairs(folder / "pair", 1, 12.0, 3)
    measured = []
    for number in range(runs):
        started = time.monotonic()
        jobs.run(a_job(folder / "pair", number), folder / "out", lambda event: None, lambda: False)
        measured.append({"seconds": round(time.monotonic() - started, 1), **held()})
        print(f"run {number + 1:2}: {measured[-1]}", flush=True)
    return measured


def a_job(pair: Path, number: int) -> jobs.Job:
    images, segmentations = (
        [pair / f"{name}{ending}" for name in ("fixed", "moving")] for ending in (".nii.gz", "_segmentation.seg.nrrd")
    )
    config = CONFIGS[number % len(CONFIGS)]
    return jobs.Job(images[0], images[1], segmentations[1], segmentations[0], config, keeps_stages=True)


class MallInfo(ctypes.Structure):
    """What glibc's allocator says of itself: ten numbers, the fifth its own mappings, the eighth what is in use."""

    _fields_ = (("numbers", ctypes.c_size_t * 10),)


def held() -> dict[str, float]:
    import torch

    gc.collect()
    libc = ctypes.CDLL(None)
    libc.malloc_trim(0)
    libc.mallinfo2.restype = MallInfo
    numbers = libc.mallinfo2().numbers
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "allocated_mb": round((numbers[7] + numbers[4]) / 2**20, 2),
        "resident_mb": round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1),
        "tensors": sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()),
        "threads": threading.active_count(),
        "files": len(os.listdir("/proc/self/fd")),
    }


def verdict(measured: list[dict[str, float]]) -> dict[str, object]:
    """Medians of the two halves after the settling."""
    settled = measured[SETTLING:]
    halves = settled[: len(settled) // 2], settled[len(settled) // 2 :]
    middles = {key: [statistics.median(run[key] for run in half) for half in halves] for key in measured[0]}
    grown = {key: round(later - sooner, 2) for key, (sooner, later) in middles.items() if key != "seconds"}
    steady = all(grown[key] <= limit for key, limit in ALLOWED.items())
    return {"halves": {key: middles[key] for key in ALLOWED}, "grown": grown, "steady": steady}


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def machine() -> str:
    import torch

    return f"{platform.platform()}, {os.cpu_count()} cores, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
