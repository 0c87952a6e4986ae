"""How soon it works: importing the engine, and the child of a job up to its first iteration; how soon ours end.

python benchmarks/startup.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine
from mirrba.phantom import write_pairs

REPEATS = 5
COMMANDS = {
    "python alone": "pass",
    "import mirrba": "import mirrba",
    "import mirrba.registration (SimpleITK)": "import mirrba.registration",
    "import mirrba.deformation (torch, too)": "import mirrba.deformation",
}


def seconds_of(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def run(pair: Path, out: Path, preset: str, to_its_end: bool) -> dict[str, float]:
    """From the start of the process to its first event, to its first iteration and, if asked for, to its results."""
    files = [str(pair / "fixed.nii.gz"), str(pair / "moving.nii.gz")]
    command = [
        sys.executable,
        "-m",
        "mirrba",
        "register",
        *files,
        "-o",
        str(out),
        "--preset",
        preset,
        "--device",
        "cpu",
    ]
    found: dict[str, float] = {}
    started = time.perf_counter()
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            event = json.loads(line)
            if event.get("event") != "progress":
                continue
            found.setdefault("first event", time.perf_counter() - started)
            if event["iteration"] > 0:
                found.setdefault("first iteration", time.perf_counter() - started)
                if not to_its_end:
                    child.terminate()
                    break
    if to_its_end:
        found["results written"] = time.perf_counter() - started
    return found


def main() -> None:
    rows = {name: statistics.median(seconds_of(code) for _ in range(REPEATS)) for name, code in COMMANDS.items()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pairs(folder / "pair", 1, 6.0, 0)
        for preset in ("default", "fast", "mirrba"):
            runs = [run(folder / "pair", folder / "out", preset, preset != "mirrba") for _ in range(3)]
            for what in runs[0]:
                rows[f"{preset}, {what}"] = statistics.median(run[what] for run in runs)
    rows = {name: round(seconds, 2) for name, seconds in rows.items()}
    print(json.dumps(rows, indent=1))
    machine.save("startup", {"machine": machine.described(), "seconds": rows})


if __name__ == "__main__":
    main()
