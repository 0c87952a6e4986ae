"""Where and from what a benchmark's figures come: every file in benchmarks/results says so."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
from mirrba.experiment.run_method import cpu_name
from mirrba.job import versions


def described(device: str = "cpu") -> dict[str, Any]:
    """MIRRBA_COMMIT in the environment says which commit it is where this is a copy without its history."""
    commit = os.environ.get("MIRRBA_COMMIT") or _commit()
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {
        "commit": commit or "unknown",
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "platform": platform.platform(),
        "versions": versions(),
    }


def _commit() -> str:
    """With "-dirty" where files differ from it; but for results, which the benchmark before has written."""
    found, changed = _git("rev-parse", "--short", "HEAD"), _git("status", "--porcelain", "-uno", ":/", ":!results")
    return f"{found}-dirty" if changed else found


def _git(*arguments: str) -> str:
    git = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


def wait(device: torch.device) -> None:
    """Until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def save(name: str, content: dict[str, Any]) -> None:
    """benchmarks/results/NAME.json."""
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"-> {path}")
