"""`mirrba benchmark`: a real run on two tiny pairs, and its marks from made-up scores with a known winner."""

import json
import math
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import SimpleITK as sitk
from mirrba.experiment import benchmark
from mirrba.experiment.methods import find
from mirrba.experiment.scoreboard import Scoreboard
from mirrba.experiment.store import Record
from mirrba.images import body_mask

PAIRS = ["pair-001", "pair-002", "pair-003", "pair-004", "pair-005"]
SPREAD = [0.000, 0.004, -0.003, 0.002, -0.001]


def mirrba(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mirrba", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


@pytest.fixture(scope="module")
def ran(tmp_path_factory, pair_folder):
    """Two made pairs and a volume that stands for a real PET."""
    out = tmp_path_factory.mktemp("benchmark")
    peer = ["greedy"] if find_spec("picsl_greedy") else []
    methods = ["identity", "truth", "fast", *peer]
    asked = ["--pairs", 2, "--spacing", 16, "--methods", ",".join(methods), "--threads", 1]
    asked += ["--pet", pair_folder / "moving.nii.gz", "--pet-pairs", 2]
    return out, methods, asked, mirrba("benchmark", "-o", out, *asked)


def test_every_method_is_compared_on_every_pair(ran):
    out, methods, _, run = ran
    assert run.returncode == 0, run.stderr
    content = json.loads((out / "benchmark.json").read_text())
    made = [row for row in content["rows"] if row["pair"] in PAIRS]
    assert [(row["pair"], row["method"]) for row in made] == [(p, m) for p in PAIRS[:2] for m in methods]
    for row in content["rows"]:
        assert row["status"] == "done"
        assert row["peak_memory_mb"] > 0
    by_method = {row["method"]: row for row in content["rows"] if row["pair"] == "pair-002"}
    assert by_method["fast"]["tre_body_mm"] < by_method["identity"]["tre_body_mm"] / 3
    assert by_method["fast"]["seconds"] > 0
    assert by_method["truth"]["tre_body_mm"] < 0.01
    assert by_method["truth"]["tre_mm"] < 0.1  # the transform on disk is a field of a few mm
    assert by_method["truth"]["seconds"] == 0
    assert "Preset fast" in by_method["fast"]["plan"]
    assert content["settings"] == {"threads": 1, "device": "auto"}
    assert content["versions"]["fast"]["torch"]


def test_the_table_and_the_picture_show_what_was_measured(ran):
    out, *_ = ran
    rows = json.loads((out / "benchmark.json").read_text())["rows"]
    seconds = [row["seconds"] for row in rows if row["method"] == "fast" and row["pair"] in PAIRS]
    line = next(line for line in (out / "benchmark.md").read_text().splitlines() if "| MIRRBA (fast)" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1] == "2"
    assert float(cells[-2]) == round(sum(seconds) / 2)
    assert (out / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_a_real_pet_is_warped_and_brought_back_beside_the_pairs(ran):
    """Its errors against SimpleITK's own evaluation of the truth, before any registration."""
    out, methods, *_ = ran
    content = json.loads((out / "benchmark.json").read_text())
    warped = [row for row in content["rows"] if row["pair"].startswith("warped-")]
    assert [row["method"] for row in warped] == [*methods, *methods]
    first, second = sorted(out.glob("warped-*"))
    rows = {row["method"]: row for row in warped if row["pair"] == first.name}
    assert rows["identity"]["dice_organs"] is None
    assert rows["fast"]["tre_body_mm"] < rows["identity"]["tre_body_mm"] / 4
    assert rows["fast"]["dice_lesions"] > rows["identity"]["dice_lesions"] + 0.2
    assert rows["truth"]["tre_body_mm"] < 0.01
    fixed = sitk.ReadImage(str(first / "fixed.nii.gz"))
    truth = sitk.ReadTransform(str(first / "true_transform.h5"))
    body = sitk.GetArrayFromImage(body_mask(fixed)) > 0
    points = [fixed.TransformIndexToPhysicalPoint(index[::-1]) for index in np.argwhere(body)[::50].tolist()]
    moved = [np.linalg.norm(np.subtract(truth.TransformPoint(point), point)) for point in points]
    assert rows["identity"]["tre_body_mm"] == pytest.approx(np.mean(moved), rel=0.05)
    assert (first / "fixed.nii.gz").read_bytes() != (second / "fixed.nii.gz").read_bytes()
    table = (out / "benchmark.md").read_text().split("On the real PET, with lesions put into it")[1]
    mean = np.mean([row["tre_body_mm"] for row in warped if row["method"] == "fast"])
    assert f"{mean:.2f}" in table


def test_what_is_there_is_not_run_again(ran):
    out, _, asked, _ = ran
    before = (out / "benchmark.json").read_text()
    assert mirrba("benchmark", "-o", out, *asked).returncode == 0
    assert (out / "benchmark.json").read_text() == before  # seconds are never the same twice


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--pairs", "1"], "--pairs takes a whole number from 2"),
        (["--pairs", "0"], "--pairs takes a whole number from 2"),
        (["--pet", "nowhere.nii.gz", "--pairs", "0"], "nowhere.nii.gz"),
        (["--pet", __file__], "test_benchmark.py"),
        (["--pet", __file__, "--pet-pairs", "0"], "--pet-pairs takes a whole number from 1, not 0."),
        (["--threads", "0"], "--threads takes a whole number from 1, not 0."),
        (["--methods", "magic"], "There is no method 'magic'"),
        (["--methods", "magic"], ", truth."),
        (["--methods", ","], "--methods names no method"),
        (["--methods", "dl-lapirn"], "DL LapIRN has to be trained first"),
        (["--spacing", "nan"], "--spacing takes 1.5 to 20 mm, not nan."),
        (["--seed", "-1"], "--seed takes a whole number from 0, not -1."),
        (["--device", "tpu"], "--device takes auto, cpu, cuda, cuda:N or mps, not 'tpu'."),
    ],
)
def test_bad_options_get_a_sentence(arguments, sentence, tmp_path):
    run = mirrba("benchmark", "-o", tmp_path / "out", *arguments)
    assert run.returncode == 2
    assert sentence in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_unasked_it_takes_our_presets_and_the_peers_that_are_installed(monkeypatch):
    monkeypatch.setattr(benchmark, "PACKAGES", {"ants": "antspyx", "greedy": "picsl-greedy"})
    monkeypatch.setattr("mirrba.experiment.methods.PACKAGES", {"ants": "no-such-package", "greedy": "numpy"})
    assert [method.name for method in benchmark._methods(None)] == ["identity", "truth", "default", "fast", "greedy"]


def test_a_pair_whose_deformation_is_unknown_has_no_true_field(tmp_path, pair_folder):
    cohort = tmp_path / "cohort"
    shutil.copytree(pair_folder, cohort / "patient")
    (cohort / "patient" / "true_transform.h5").unlink()
    found = benchmark.run_benchmark(
        benchmark.Benchmark(tmp_path / "out", cohort=cohort, methods=("identity", "truth"), threads=1), lambda _: None
    )
    rows = json.loads((tmp_path / "out" / "benchmark.json").read_text())["rows"]
    assert found == []
    assert [row["method"] for row in rows] == ["identity"]


# ----- marks


def made(method: str, pair: int, value: float) -> Record:
    scores = {"dice_organs": value, "dice_lesions": value, "tre_mm": 10 * value, "seconds": 30.0}
    info = {"seconds": 30.0, "peak_memory_mb": 512.0}
    return Record("0" * 16, PAIRS[pair], None, method, find(method).title, "done", None, info, scores)


def marks(peer: float) -> dict[str, str]:
    """The peer's cells by score, where `default` has 0.8."""
    wobble = [0.003 * math.sin(k) for k in range(5)]
    records = [made("default", k, 0.8 + SPREAD[k]) for k in range(5)]
    records += [made("greedy", k, peer + SPREAD[k] + wobble[k]) for k in range(5)]
    lines = benchmark.markdown(Scoreboard(records), benchmark.COMPARED).splitlines()
    heads, cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in (lines[2], lines[-1]))
    return dict(zip(heads, cells, strict=True))


def test_a_better_peer_is_marked_up_and_a_worse_one_down():
    assert marks(0.9)["Dice organs"].endswith("▲")
    assert marks(0.7)["Dice organs"].endswith("▼")
    assert marks(0.9)["TRE landmarks, mm"].endswith("▼")  # a longer distance is worse
    assert marks(0.7)["TRE landmarks, mm"].endswith("▲")


def test_what_does_not_differ_and_what_was_not_measured_gets_no_mark():
    found = marks(0.8)
    assert found["Dice organs"] == f"{0.8 + sum(0.003 * math.sin(k) for k in range(5)) / 5 + sum(SPREAD) / 5:.3f}"
    assert found["TRE body, mm"] == "–"
    assert (found["time, s"], found["memory, MiB"]) == ("30", "512")


def test_marks_are_explained_where_there_are_any():
    for methods, explained in ((("default", "greedy"), True), (("greedy",), False)):
        board = Scoreboard(made(method, k, 0.8) for method in methods for k in range(2))
        text = benchmark.markdown(board, benchmark.COMPARED)
        assert text.startswith("Means over 2 pairs.")
        assert ("▲ ▼" in text) == explained


def test_a_failure_is_listed():
    failed = Record("0" * 16, PAIRS[0], None, "syn", "SyN", "failed", "SyN failed: no luck.", {}, {})
    text = benchmark.markdown(Scoreboard([made("default", 0, 0.8), failed]), benchmark.COMPARED)
    assert "SyN failed: no luck." in text
