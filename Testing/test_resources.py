"""What a process tells of its memory, and what becomes of the memory that it frees."""

import subprocess
import sys
from pathlib import Path

import pytest

MODULE = Path(__file__).parents[1] / "MIRRBARegistration"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PARENT = """
import subprocess, sys
held = bytearray(300 * 2**20)
sys.exit(subprocess.run([sys.executable, "-c", sys.argv[1]]).returncode)
"""
PEAK = "from mirrba.resources import peak_memory_mb; print(peak_memory_mb())"
FAULTS = """
import resource, sys
import numpy as np
from mirrba.resources import keep_memory
if sys.argv[1] == "kept":
    keep_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
size = int(sys.argv[2])
np.ones(size)
before = faults()
for _ in range(3):
    np.ones(size)
print(faults() - before)
"""


def said(*arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", *arguments], env={"PYTHONPATH": str(MODULE)}, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def test_the_peak_is_of_the_process_itself_not_of_the_one_that_started_it():
    assert 1 < said(PARENT, PEAK) < 200
    assert said("held = bytearray(300 * 2**20); " + PEAK) > 300


@pytest.mark.parametrize("megabytes", [64, 2300])
def test_memory_that_was_freed_is_used_again_instead_of_taken_anew_page_by_page(megabytes):
    size = str(megabytes * 2**20 // 8)
    assert said(FAULTS, "kept", size) < said(FAULTS, "as it is", size) / 20
