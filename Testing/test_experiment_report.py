"""Tables, claims, figures and the report, from made-up scores with a known winner and from a real small study."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from mirrba import cli
from mirrba.experiment import claims, paper, tables
from mirrba.experiment.methods import METHODS, find
from mirrba.experiment.scoreboard import METRICS, Scoreboard, write_csv
from mirrba.experiment.statistics import holm
from mirrba.experiment.store import Record
from scipy import stats

MODULE = Path(__file__).parents[1] / "MIRRBARegistration"
PAIRS = [f"pair-{n:03d}" for n in range(1, 11)]
NOISE = np.random.default_rng(1).normal(0, 0.01, (10, 40))
# Dice of the lesions by method; every other score follows it.
QUALITY = {
    "identity": 0.10,
    "mirrba-wo-archi": 0.30,
    "mirrba-depth-1": 0.35,
    "mirrba-depth-2": 0.40,
    "mirrba": 0.50,
    "mirrba-depth-4": 0.60,
    "mirrba-depth-4-max-up": 0.60,
    "mirrba-max": 0.45,
    "mirrba-up": 0.55,
    "syncc": 0.70,
    "combined": 0.80,
}


def made(method: str, pair: int, quality: float, **changes) -> Record:
    value = quality + NOISE[pair, list(METHODS).index(method)]
    segments = [
        {"name": "brain", "role": "organ", "average_hausdorff_mm": 1.0},
        {"name": "bladder", "role": "organ", "average_hausdorff_mm": 3.0},
        {"name": "lesion", "role": "lesion", "average_hausdorff_mm": None},
    ]
    scores = {
        "detection_rate": value,
        "dice_organs": value,
        "dice_lesions": value,
        "sd_jacobian": 1 - value,
        "disappearing_rate": value,
        "folding_fraction": 0.0,
        "seconds": 60.0,
        "tre_mm": 10 * (1 - value),
        "tre_body_mm": None,
        "segments": segments,
    }
    info = {"seconds": 60.0, "threads": 2, "cpu": "made up"}
    record = Record("0" * 16, PAIRS[pair], "A", method, find(method).title, "done", None, info, scores)
    return dataclasses.replace(record, **changes)


def records(quality=QUALITY, pairs=10) -> list[Record]:
    return [made(method, pair, value) for pair in range(pairs) for method, value in quality.items()]


@pytest.fixture
def board() -> Scoreboard:
    return Scoreboard(records())


# ----- tables


def cells(table: tables.Table, metric: str) -> dict[str, tables.Cell]:
    return {line.method: next(c for c in line.cells if c.metric.name == metric) for line in table.lines}


def test_numbers_of_a_column_are_those_of_scipy(board):
    table = tables.tables(board)[0]
    found = cells(table, "dice_lesions")
    assert list(found) == ["identity", "mirrba", "syncc", "combined"]
    values = {m: [r.scores["dice_lesions"] for r in board.of(m)] for m in found}
    expected = {m: stats.ttest_rel(values[m], values["mirrba"]).pvalue for m in found if m != "mirrba"}
    for method, cell in found.items():
        assert cell.summary.mean == pytest.approx(np.mean(values[method]))
        assert cell.summary.sd == pytest.approx(np.std(values[method], ddof=1))
        if method != "mirrba":
            assert cell.comparison.t_p == pytest.approx(expected[method])
    assert found["mirrba"].comparison is None
    corrected = dict(zip(expected, holm([found[m].comparison.p for m in expected]), strict=True))
    assert {m: found[m].holm_p for m in expected} == pytest.approx(corrected)
    assert {m: cell.rank for m, cell in found.items()} == {"identity": None, "mirrba": None, "syncc": 2, "combined": 1}


def test_what_has_no_ideal_value_is_not_ranked_and_identity_not_for_doing_nothing(board):
    table = tables.tables(board)[0]
    assert {cell.rank for cell in cells(table, "sd_jacobian").values()} == {None}
    assert cells(table, "folding")["identity"].rank is None
    assert cells(table, "folding")["syncc"].rank == 1
    assert cells(table, "tre_mm")["combined"].rank == 1
    assert cells(table, "tre_body_mm")["combined"].summary.n == 0
    assert cells(table, "hausdorff_organs_mm")["combined"].summary.mean == 2


def short(p: float, less: str) -> str:
    return f"{less}0.001" if p < 0.001 else f"{p:.3f}"


def test_markdown_latex_and_csv_say_the_same(board, tmp_path):
    table = tables.tables(board)[0]
    combined, syncc = (cells(table, "dice_lesions")[m] for m in ("combined", "syncc"))
    shown = f"{combined.summary.mean:.3f} ± {combined.summary.sd:.3f}"
    rows = tables.markdown(table).splitlines()
    line = next(row for row in rows if row.startswith("| Combined"))
    assert f"**{shown} \\* ({short(combined.holm_p, '&lt;')})**" in line
    assert "| 10/10 |" in line
    assert f"***{syncc.summary.mean:.3f}" in next(row for row in rows if row.startswith("| SyNCC"))
    widths = {row.replace(r"\|", "").count("|") for row in rows if row.startswith("|")}
    assert widths == {len(METRICS) + 3}
    tex = tables.latex(table)
    mean, p = f"{combined.summary.mean:.3f} $\\pm$ {combined.summary.sd:.3f}", short(combined.holm_p, "$<$")
    assert rf"\textbf{{{mean} * ({p})}}" in tex
    assert rf"\textbf{{\textit{{{syncc.summary.mean:.3f}" in tex
    assert not re.search(r"[±≤↑↓`]", tex)
    tables.write_table_csv(table, tmp_path / "t.csv")
    read = [row for row in csv.DictReader((tmp_path / "t.csv").open()) if row["metric"] == "dice_lesions"]
    assert {row["method"]: float(row["mean"]) for row in read}["combined"] == combined.summary.mean
    assert next(row for row in read if row["method"] == "mirrba")["p"] == ""


def test_failed_pairs_are_in_the_footnote_and_lower_n():
    made_up = records()
    place = next(i for i, r in enumerate(made_up) if (r.method, r.pair) == ("syncc", "pair-004"))
    made_up[place] = dataclasses.replace(made_up[place], status="failed", message="SyNCC has run away.", scores={})
    table = tables.tables(Scoreboard(made_up))[0]
    text = tables.markdown(table)
    assert "- SyNCC, pair-004: SyNCC has run away." in text
    assert "| SyNCC | 9/10 |" in text
    assert cells(table, "dice_lesions")["syncc"].comparison.n == 9


def test_a_method_that_always_failed_keeps_its_line():
    failed = [made("syn", pair, 0, status="failed", message="No memory.", scores={}) for pair in range(10)]
    text = tables.markdown(tables.tables(Scoreboard(records() + failed))[0])
    line = next(row for row in text.splitlines() if row.startswith("| SyN |"))
    assert line.startswith("| SyN | 0/10 | –")
    assert "- SyN, every pair: No memory." in text
    assert text.count("No memory.") == 1


def test_every_method_has_a_table():
    assert set(METHODS) <= {*tables.TABLE_1, *tables.TABLE_2, *tables.TABLE_S1}


def test_every_pair_is_in_the_csv(board, tmp_path):
    write_csv(board, tmp_path / "scores.csv")
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert len(rows) == len(board.records)
    assert float(rows[0]["dice_lesions"]) == pytest.approx(board.records[0].scores["dice_lesions"], rel=1e-5)
    assert rows[0]["minutes"] == "1"
    assert rows[0]["hausdorff_lesions_mm"] == ""


# ----- claims


def verdict(board: Scoreboard, start: str) -> claims.Judgement:
    return next(j for j in claims.judge(board) if j.claim.sentence.startswith(start))


def test_claims_are_decided_by_the_numbers(board):
    assert verdict(board, "The architecture").verdict == claims.REPRODUCED
    assert verdict(board, "Depth").verdict == claims.REPRODUCED
    assert verdict(board, "SyNCC is more").verdict == claims.REPRODUCED
    assert verdict(board, "Combined is more").verdict == claims.REPRODUCED
    assert verdict(board, "Max-pooling").verdict == claims.IN_PART
    assert verdict(board, "MIRRBA lets").verdict == claims.NOT_TESTED  # SyN was not run
    deformable = verdict(board, "Deformable")
    assert (deformable.verdict, deformable.reason) == (claims.NOT_TESTED, "MIRRBA Def Conv was not run")


def test_the_contrary_is_not_reproduced():
    board = Scoreboard(records({**QUALITY, "mirrba-wo-archi": 0.9}))
    found = verdict(board, "The architecture")
    assert found.verdict == claims.NOT_REPRODUCED
    assert found.findings[1].comparison.difference == pytest.approx(-0.4, abs=0.02)
    assert not found.findings[0].as_claimed


def test_no_difference_is_undecided_and_two_pairs_are_too_few():
    same = Scoreboard(records({"mirrba": 0.5, "mirrba-wo-archi": 0.4999}))
    assert verdict(same, "The architecture").verdict in (claims.UNDECIDED, claims.NOT_REPRODUCED)
    two = verdict(Scoreboard(records(pairs=2)), "The architecture")
    assert two.verdict == claims.NOT_TESTED
    assert "too few" in two.reason


def test_what_failed_is_told_as_the_reason():
    failed = [made("mirrba-def-conv", pair, 0, status="failed", message="x", scores={}) for pair in range(10)]
    found = verdict(Scoreboard(records() + failed), "Deformable")
    assert found.reason == "MIRRBA Def Conv failed on every pair"


def test_claims_name_methods_that_exist():
    named = {name for claim in claims.CLAIMS for e in claim.expected for name in (e.better, e.worse)}
    assert named <= set(METHODS)
    assert set(paper.PAPER) <= set(METHODS)


def test_the_paper_s_numbers_hold_the_paper_s_claims():
    """A slip in the transcription would show: these differences are in its text."""
    assert paper.mean("combined", "detection_rate") == 43.36
    assert paper.text("dl-lapirn", "minutes") == "1450 – 3"
    # Section 5.1: organs 22 %, lesions 78 % better than wo Archi; 65 % better than DL LapIRN on lesions.
    dice = {m: paper.mean(m, "dice_lesions") for m in paper.PAPER}
    assert dice["mirrba"] / dice["mirrba-wo-archi"] == pytest.approx(1.78, abs=0.01)
    assert dice["mirrba"] / dice["dl-lapirn"] == pytest.approx(1.65, abs=0.01)
    assert paper.mean("mirrba", "dice_organs") / paper.mean("mirrba-wo-archi", "dice_organs") == pytest.approx(
        1.22, abs=0.01
    )


# ----- the command


def experiment(*arguments, **more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "mirrba", "experiment", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(MODULE)},
        **more,
    )


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=400)
    return process.returncode, out, error


def test_bad_usage_is_a_sentence(tmp_path):
    for arguments, expected in (
        ([], "COHORT is missing"),
        (["--quick", "--methods", "magic"], "There is no method 'magic'"),
        (["--quick", "--methods", ","], "names no method"),
        (["--quick", "--threads", "0"], "--threads takes"),
        (["--quick", "--device", "magic"], "--device takes"),
        (["--quick", "--set", "speed=2"], "no setting 'speed'"),
        (["--quick", "--set", "seed=2"], "use --seed"),
        (["--quick", "--methods", "identity,default", "--set", "foo=1"], "--set is for the paper's networks, of which"),
        ([tmp_path / "nowhere"], "no such folder"),
    ):
        code, _, error = ended(experiment(*arguments, "-o", tmp_path / "out"))
        assert code == 2
        assert expected in error
        assert "Traceback" not in error
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["experiment", "benchmark"])
@pytest.mark.parametrize(
    ("out", "is_taken"), [(".", False), ("out", False), ("new/out", False), ("derivatives/out", True)]
)
def test_results_do_not_lie_among_the_pairs(tmp_path, capsys, command, out, is_taken):
    (tmp_path / "pair-001").mkdir()  # without its files: refused as soon as the cohort is read
    assert cli.main([command, str(tmp_path), "-o", str(tmp_path / out)]) == 2
    error = capsys.readouterr().err
    assert ("would lie among the pairs" in error) != is_taken
    assert ("the moving volume is missing" in error) == is_taken
    assert {path.name for path in tmp_path.iterdir()} <= {"pair-001", "new", "derivatives"}


def test_a_quick_look_tells_what_was_set(study):
    report = (study / "report.md").read_text()
    scores = (study / "scores.csv").read_text()
    methods = ["--methods", "mirrba-level-1", "--device", "cpu", "--report-only"]
    assert ended(experiment("--quick", *methods, "--set", "spacing=30", "-o", study))[0] == 1
    assert "with spacing=30" in (study / "report.md").read_text()
    (study / "report.md").write_text(report)
    (study / "scores.csv").write_text(scores)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Two small pairs, a few quick methods, by the command."""
    pytest.importorskip("distributed", reason="the extra cohort is not installed")
    pytest.importorskip("matplotlib", reason="the extra cohort is not installed")
    pytest.importorskip("picsl_greedy")
    out = tmp_path_factory.mktemp("study")
    methods = "identity,greedy,mirrba-level-1,mirrba-depth-4-max-up"
    code, told, error = ended(experiment("--quick", "--methods", methods, "--device", "cpu", "-o", out))
    assert code == 0, error
    assert f"The report is {out / 'report.md'}" in told
    assert "8 of 8" in error
    return out


def test_the_study_writes_everything(study):
    report = (study / "report.md").read_text()
    assert "The paper's claims" in report
    assert "too few" not in report or "Not tested" in report
    for picture in re.findall(r"\]\((figures/[^)]+)\)", report):
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(study / picture)))
        assert image[..., :3].std() > 5
    assert {p.name for p in (study / "figures").iterdir()} == {
        "overlays.png",
        "overlays-ablation.png",
        "lesions.png",
        "box-plots.png",
        "accuracy-time.png",
    }
    assert {p.name for p in (study / "tables").iterdir()} == {
        f"table-{n}.{e}" for n in (1, 2) for e in ("md", "csv", "tex")
    }
    rows = list(csv.DictReader((study / "scores.csv").open()))
    assert len(rows) == 8
    assert {row["status"] for row in rows} == {"done"}
    assert {row["centre"] for row in rows} == {"A", "B"}


def test_a_report_of_what_is_there_runs_nothing(study):
    before = (study / "scores.csv").read_text()
    code, _, error = ended(
        experiment("--quick", "--methods", "identity,syn", "--device", "cpu", "-o", study, "--report-only")
    )
    assert code == 1
    assert "SyN on pair-001: SyN has not been run." in error
    assert not (study / "results" / "syn").exists()
    assert "SyN has not been run." in (study / "report.md").read_text()
    (study / "scores.csv").write_text(before)


def test_a_changed_setting_is_another_result_for_the_methods_of_mirrba_only(study):
    before = (study / "scores.csv").read_text()
    methods = ["--methods", "greedy,mirrba-level-1", "--device", "cpu", "--report-only"]
    code, _, error = ended(experiment("--quick", *methods, "--set", "spacing=30", "-o", study))
    assert code == 1
    assert "MIRRBA Level 1 on pair-001: MIRRBA Level 1 has not been run." in error
    assert "Greedy" not in error
    (study / "scores.csv").write_text(before)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(study, tmp_path):
    arguments = [study / "cohort", "--methods", "identity,mirrba", "--device", "cpu", "-o", tmp_path, "--threads", "1"]
    running = experiment(*arguments, start_new_session=True)
    end = time.monotonic() + 120
    while not (jobs := list(tmp_path.glob("results/mirrba/.partial-*/job.json"))) and time.monotonic() < end:
        time.sleep(0.1)
    assert jobs
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to all of them
    code, _, error = ended(running)
    assert code == 3
    assert error.splitlines()[-1] == (
        "mirrba: The experiment was stopped; what is finished is kept, and the same command goes on from there."
    )
    assert "Traceback" not in error
    folder = str(tmp_path).encode()
    assert not [p for p in Path("/proc").glob("[0-9]*/cmdline") if folder in _read(p)]
    finished = {p: p.stat().st_mtime_ns for p in tmp_path.glob("results/identity/*/result.json")}
    code, _, error = ended(experiment(study / "cohort", "--methods", "identity", *arguments[3:]))
    assert code == 0, error
    assert len(json.loads(next(tmp_path.glob("results/identity/*/result.json")).read_text())["key"]) == 16
    assert all(p.stat().st_mtime_ns == before for p, before in finished.items())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
