"""The tables of docs/performance.md and docs/gpu.md are those of benchmarks/results.

    python Testing/test_docs_performance.py

prints them, to be pasted.
"""

import json
import statistics
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = [ROOT / "docs" / name for name in ("performance.md", "gpu.md")]


def result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def row(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def benchmark(name: str) -> list[str]:
    text = (RESULTS / f"{name}.md").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("|")]


def medians(name: str) -> list[str]:
    """Of the times, which one disturbed run does not move."""
    rows = [entry for entry in result(name)["rows"] if entry["seconds"] is not None]
    found = []
    for method in dict.fromkeys(entry["method"] for entry in rows if entry["seconds"]):
        seconds = [entry["seconds"] for entry in rows if entry["method"] == method]
        found.append(row(f"`{method}`", f"{statistics.median(seconds):.0f}", f"{min(seconds):.0f}–{max(seconds):.0f}"))
    return found


MARKS = {"better": " ▲", "worse": " ▼", None: ""}


def ablation() -> list[str]:
    content = result("ablation")
    found = []
    for variant, mean in content["means"].items():
        digits = {name: 2 if name.startswith("tre") else 3 for name in mean if name != "seconds"}
        apart = content["apart"][variant]
        found.append(row(variant, *(f"{mean[name]:.{n}f}{MARKS[apart.get(name)]}" for name, n in digits.items())))
    return found


def apart() -> list[str]:
    """Beside each other: with the affine start, without, and without on three levels."""
    means = {(mean["shift_mm"], mean["start"]): mean for mean in result("apart")["means"]}
    digits = {"dice_organs": 3, "dice_lesions": 3, "tre_body_mm": 1}
    starts = ("affine", "none", "none, three levels")
    return [
        row(shift, *(f"{means[shift, start][name]:.{n}f}" for name, n in digits.items() for start in starts))
        for shift in dict.fromkeys(shift for shift, _ in means)
    ]


def ends() -> list[str]:
    """Beside each other: as it is, ending in air, and with contrast at the end."""
    means = {(mean["cut"], mean["way"]): mean for mean in result("ends")["means"]}
    return [
        row(
            cut,
            *(
                f"{means[cut, way][n]:.1f}"
                for n in ("body", "lower_end", "upper_end")
                for way in ("default", "air", "contrast")
            ),
        )
        for cut in dict.fromkeys(cut for cut, _ in means)
    ]


def lncc(device: str = "cpu") -> list[str]:
    return [
        row(
            entry["window"],
            f"{1000 * entry['convolution_s']:.0f} ms",
            f"{1000 * entry['ours_s']:.0f} ms",
            f"{entry['ratio']:.0f}",
            f"{entry['convolution_error']:.0e}",
            f"{entry['ours_error']:.0e}",
        )
        for entry in result(f"lncc-{device}")["rows"]
    ]


def cost() -> list[str]:
    return [
        row(
            entry["preset"],
            f"{entry['side']}³",
            f"{list(entry['seconds_per_iteration'].values())[-1]:.3f}",
            entry["peak_mb"],
            f"{entry['schedule_s'] / 3600:.1f}" if entry.get("schedule_s") else "",
        )
        for entry in result("cost-cpu")["rows"]
    ]


def fits() -> list[str]:
    return [
        row(preset, fit["power"], f"{fit['mb_at_0']} + {fit['mb_per_1e6_voxels']} per million voxels")
        for preset, fit in result("cost-cpu")["fits"].items()
    ]


def exhausted() -> list[str]:
    """The side of the cube of voxels for which so much memory is enough, by the fits."""
    sizes = result("cost-cpu")["fits"].values()
    return [
        row(
            f"{gib} GiB",
            *(f"{((1024 * gib - s['mb_at_0']) / s['mb_per_1e6_voxels'] * 1e6) ** (1 / 3):.0f}³" for s in sizes),
        )
        for gib in (4, 8, 16, 24)
    ]


def depths() -> list[str]:
    found = []
    for entry in result("cost-cpu")["levels"]:
        seconds = list(entry["seconds_per_iteration"].values())
        found.append(row(len(seconds), f"{seconds[-1]:.3f}", f"{sum(seconds[:-1]):.3f}", entry["peak_mb"]))
    return found


def counts() -> list[str]:
    return [
        row(
            entry["preset"],
            *(f"{seconds:.2f}" for seconds in entry["seconds"]),
            f"{entry['seconds_at_0']:.2f} + {entry['seconds_per_iteration']:.3f} n",
        )
        for entry in result("cost-cpu")["iterations"]
    ]


def startup() -> list[str]:
    return [row(what, f"{seconds:.2f}") for what, seconds in result("startup")["seconds"].items()]


def operations() -> list[str]:
    """The six that take most of an iteration."""
    found = []
    for what in ("network", "network, plain", "descent", "descent, plain"):
        content = result("operations-cpu")[what]
        shares = list(content["percent"].items())[:6]
        parts = [f"{name.removeprefix('aten::')} {share:.0f} %" for name, share in shares]
        found.append(row(what, f"{content['milliseconds_of_3'] / 3000:.2f}", ", ".join(parts)))
    return found


def roofline() -> list[str]:
    return [
        row(
            what,
            f"{found['gigaflop']:.0f}",
            f"{found['gigabytes']:.1f}",
            f"{found['arithmetic_floor_s']:.3f}",
            f"{found['traffic_floor_s']:.3f}",
            f"{found['seconds']:.2f}",
        )
        for what, found in result("operations-cpu")["roofline"].items()
    ]


def device() -> list[str]:
    """Percent as elsewhere; a preset that was run once has one time."""
    return [
        row(
            f"`{entry['preset']}`",
            " × ".join(map(str, entry["grid"])),
            ", ".join(f"{seconds:.1f}" for seconds in entry["seconds"]),
            f"{entry['peak_memory_mb']:.0f}",
            f"{entry['dice_organs']:.3f}",
            f"{entry['dice_lesions']:.3f}",
            f"{100 * entry['disappearing_rate']:.0f}",
            f"{entry['tre_mm']:.2f}",
            f"{entry['tre_body_mm']:.2f}",
            f"{entry['sd_jacobian']:.3f}",
        )
        for entry in result("device-cuda")["rows"]
    ]


def operations_on_a_gpu() -> list[str]:
    content = result("operations-cuda")
    return [
        row(
            what,
            f"{content[f'{what}, plain']['milliseconds_of_3'] / 3:.0f}",
            f"{1000 * floors['seconds']:.1f}",
            f"{1000 * floors['arithmetic_floor_s']:.1f}",
            f"{1000 * floors['traffic_floor_s']:.1f}",
        )
        for what, floors in content["roofline"].items()
    ]


TABLES = {
    "6 mm": lambda: benchmark("benchmark-6mm"),
    "6 mm, times": lambda: medians("benchmark-6mm"),
    "8 mm": lambda: benchmark("benchmark-8mm"),
    "8 mm, fresh": lambda: benchmark("benchmark-8mm-fresh"),
    "4 mm": lambda: benchmark("benchmark-4mm"),
    "network": lambda: benchmark("benchmark-network"),
    "real PET": lambda: benchmark("benchmark-pet"),
    "ablation": ablation,
    "apart": apart,
    "ends": ends,
    "operations": operations,
    "roofline": roofline,
    "lncc": lncc,
    "GPU, one pair": device,
    "GPU, operations": operations_on_a_gpu,
    "GPU, LNCC": lambda: lncc("cuda"),
    "cost": cost,
    "fits": fits,
    "where memory runs out": exhausted,
    "depths": depths,
    "counts": counts,
    "startup": startup,
}


@pytest.mark.parametrize("table", TABLES)
def test_the_pages_show_what_was_measured(table):
    lines = TABLES[table]()
    assert lines
    shown = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if line not in shown] == []


if __name__ == "__main__":
    for name, lines in TABLES.items():
        print(name, *lines(), "", sep="\n")
