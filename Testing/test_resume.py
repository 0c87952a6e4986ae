"""`mirrba register --resume`: an interrupted run goes on after its last finished level, to the same result."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from mirrba import Cancelled, register
from mirrba.finished import FinishedStages
from mirrba.job import UNFINISHED
from mirrba.presets import resolve

MODULE = Path(__file__).parents[1] / "MIRRBARegistration"
# the second level takes seconds: long enough to be interrupted in
OPTIONS = ["--preset", "mirrba-depth-2", "--device", "cpu", "--spacing", "24", "--iterations", "4,20"]
TOLERANCE_MM = 1e-4  # of the field; on one machine it is the same to the last bit


def start(pair_folder, out, *more) -> subprocess.Popen:
    files = [str(pair_folder / f"{name}.nii.gz") for name in ("fixed", "moving")]
    return subprocess.Popen(
        [sys.executable, "-m", "mirrba", "register", *files, "-o", str(out), "--json", *OPTIONS, *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(MODULE)},
    )  # fmt: skip


def finish(process) -> tuple[list[dict], str]:
    output, error = process.communicate(timeout=300)
    return [json.loads(line) for line in output.splitlines()], error


def interrupt_in_level_2(process, number) -> str:
    for line in process.stdout:
        if json.loads(line).get("stage") == "level 2 of 2":
            break
    process.send_signal(number)
    _, error = process.communicate(timeout=300)
    return error


def field(out: Path) -> np.ndarray:
    transform, fixed = sitk.ReadTransform(str(out / "transform.h5")), sitk.ReadImage(str(out / "warped.nii.gz"))
    return sitk.GetArrayFromImage(
        sitk.TransformToDisplacementField(
            transform,
            sitk.sitkVectorFloat64,
            fixed.GetSize(),
            fixed.GetOrigin(),
            fixed.GetSpacing(),
            fixed.GetDirection(),
        )
    )


def result(out: Path) -> dict:
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def whole(pair_folder, tmp_path_factory) -> Path:
    """The result of a run that nobody interrupts."""
    out = tmp_path_factory.mktemp("whole")
    process = start(pair_folder, out)
    _, error = finish(process)
    assert process.returncode == 0, error
    assert not (out / UNFINISHED).exists()
    assert result(out)["resumed"] == []
    return out


@pytest.fixture(scope="module")
def killed(pair_folder, tmp_path_factory) -> Path:
    """What a run leaves that was killed in its second level. To be copied, not changed."""
    out = tmp_path_factory.mktemp("killed")
    process = start(pair_folder, out)
    interrupt_in_level_2(process, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (out / "result.json").exists()
    return out


@pytest.fixture
def interrupted(killed, tmp_path) -> Path:
    return shutil.copytree(killed, tmp_path / "out")


def test_a_killed_run_goes_on_after_its_last_finished_level_to_the_same_result(pair_folder, whole, interrupted):
    events, error = finish(start(pair_folder, interrupted, "--resume"))
    assert events[-1]["event"] == "done", error
    assert {event["stage"] for event in events[:-1]} == {"preparing", "level 2 of 2", "writing results"}
    assert np.abs(field(interrupted) - field(whole)).max() < TOLERANCE_MM
    assert np.abs(field(whole)).max() > 10  # mm: there was something to find
    assert result(interrupted)["resumed"] == ["level 1 of 2"]
    assert result(interrupted)["history"] == result(whole)["history"]
    assert not (interrupted / UNFINISHED).exists()


def test_a_terminated_run_leaves_no_result_and_says_how_to_go_on(pair_folder, tmp_path):
    process = start(pair_folder, tmp_path / "out")
    error = interrupt_in_level_2(process, signal.SIGTERM)
    assert process.returncode == 3
    assert error == (
        "mirrba: The run was cancelled; the same command with --resume goes on after the last level that is finished.\n"
    )
    (folder,) = (tmp_path / "out").iterdir()
    assert folder.name == UNFINISHED
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_run_cancelled_before_its_first_level_promises_nothing_of_another_runs(pair_folder, interrupted):
    before = sorted(path.name for path in (interrupted / UNFINISHED).iterdir())
    process = start(pair_folder, interrupted, "--seed", "7")
    assert json.loads(process.stdout.readline())["stage"] == "preparing"
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=300)
    assert process.returncode == 3
    assert "cancelled" in error
    assert "--resume" not in error
    assert sorted(path.name for path in (interrupted / UNFINISHED).iterdir()) == before


def test_other_volumes_or_settings_never_go_on_from_it(pair_folder, interrupted, tmp_path):
    before = {path.name: path.read_bytes() for path in (interrupted / UNFINISHED).iterdir()}
    other = tmp_path / "other"
    other.mkdir()
    image = sitk.ReadImage(str(pair_folder / "fixed.nii.gz"))
    image[20, 10, 40] += 1
    sitk.WriteImage(image, str(other / "fixed.nii.gz"))
    shutil.copy(pair_folder / "moving.nii.gz", other)
    for folder, more in ((other, []), (pair_folder, ["--seed", "7"])):
        process = start(folder, interrupted, "--resume", *more)
        _, error = finish(process)
        assert process.returncode == 2
        assert "was interrupted with other volumes or settings" in error
        assert error.count("\n") == 1
    assert {path.name: path.read_bytes() for path in (interrupted / UNFINISHED).iterdir()} == before


def test_without_resume_it_starts_anew(pair_folder, interrupted):
    process = start(pair_folder, interrupted)
    stages = set()
    for line in process.stdout:
        stages.add(json.loads(line).get("stage"))
        if "level 1 of 2" in stages:
            break
    process.kill()
    process.communicate()
    assert "level 2 of 2" not in stages


@pytest.mark.parametrize("damage", ["cut short", "a program"])
def test_a_damaged_state_is_not_used_and_said(pair_folder, whole, interrupted, damage):
    import pickle

    (state,) = (interrupted / UNFINISHED).glob("*.pt")
    content = state.read_bytes()
    program = pickle.dumps(Path(interrupted / "owned").touch)
    state.write_bytes({"cut short": content[: len(content) // 2], "a program": program}[damage])
    process = start(pair_folder, interrupted, "--resume")
    stages, warnings = [], []
    for line in process.stdout:
        event = json.loads(line)
        stages.append(event.get("stage"))
        warnings += [event["message"]] if event["event"] == "warning" else []
        if "level 1 of 2" in stages:
            break
    process.kill()
    process.communicate()
    assert len(warnings) == 1
    assert "its stage is run again" in warnings[0]
    assert not (interrupted / "owned").exists()


def test_without_anything_to_resume_it_runs_from_the_start(pair, tmp_path):
    finished = FinishedStages(tmp_path / UNFINISHED, "key", resume=True)
    register(*pair, resolve("mirrba-depth-1", device="cpu", spacing=30, iterations="1"), finished=finished)
    assert finished.resumed == []


@pytest.fixture(scope="module")
def pair(pair_folder):
    return tuple(sitk.ReadImage(str(pair_folder / f"{name}.nii.gz"), sitk.sitkFloat32) for name in ("fixed", "moving"))


ALL_PARTS = resolve("mirrba-depth-2", device="cpu", spacing=24, start="3,3", iterations="3,3", finish="3,3")


@pytest.fixture(scope="module")
def uninterrupted(pair):
    return register(*pair, ALL_PARTS)


@pytest.mark.parametrize("stage", ["start 1 of 2", "start 2 of 2", "level 2 of 2", "finish 2 of 2"])
def test_a_run_goes_on_from_every_stage_to_the_same_bits(pair, uninterrupted, tmp_path, stage):
    seen = []
    with pytest.raises(Cancelled):
        register(
            *pair, ALL_PARTS, on_progress=seen.append, should_stop=lambda: bool(seen) and seen[-1].stage == stage,
            finished=FinishedStages(tmp_path / UNFINISHED, "key"),
        )  # fmt: skip
    events = []
    again = FinishedStages(tmp_path / UNFINISHED, "key", resume=True)
    registration = register(*pair, ALL_PARTS, on_progress=events.append, finished=again)
    done_before = {event.stage for event in seen} - {"preparing", stage}
    assert set(again.resumed) == done_before
    assert not done_before & {event.stage for event in events}
    assert registration._displacement.tobytes() == uninterrupted._displacement.tobytes()
    assert registration.history == uninterrupted.history
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert all(event.remaining is None or event.remaining >= 0 for event in events)


def test_another_grid_or_device_does_not_go_on_from_it(tmp_path):
    """As after memory ran out: what was found on one grid does not fit another."""
    import torch
    from mirrba.progress import Progress, Stage

    kept = FinishedStages(tmp_path / UNFINISHED, "key")
    kept.of("one plan")
    kept.keep("level 1 of 2", {"weight": torch.ones(2)}, [0.5], ["It diverged."])
    again = FinishedStages(tmp_path / UNFINISHED, "key", resume=True)
    progress = Progress([Stage("level 1 of 2", 1, 1.0)])
    again.of("another plan")
    assert again.recall("level 1 of 2", progress) is None
    again.of("one plan")
    found = again.recall("level 1 of 2", progress)
    assert found["weight"].tolist() == [1, 1]
    assert progress.history == [{"stage": "level 1 of 2", "loss": [0.5]}]
    assert progress.departures == ["It diverged."]
    assert again.resumed == ["level 1 of 2"]
    again.of("a coarser plan")
    assert again.resumed == []
