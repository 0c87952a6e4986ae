"""One method on one pair in a process of its own: results that stay, failures that are told, runs that end."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from mirrba.errors import Cancelled
from mirrba.experiment import methods, process, run_pair, scores
from mirrba.experiment.cohort import Pair, read_cohort
from mirrba.experiment.displacement import read_field
from mirrba.experiment.methods import METHODS, find
from mirrba.experiment.store import Store, key_of
from mirrba.experiment.task import Settings, Task
from mirrba.metrics import evaluate
from mirrba.presets import PRESETS, resolve
from mirrba.segments import read_segmentation

ONE = Settings(threads=1)


@pytest.fixture
def pair(pair_folder, tmp_path) -> Pair:
    shutil.copytree(pair_folder, tmp_path / "cohort" / "pair-001")
    return read_cohort(tmp_path / "cohort").pairs[0]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


def run(pair: Pair, name: str, store: Store, **more):
    return run_pair.run_pair(pair, find(name).in_brief(), more.pop("settings", ONE), store, **more)


@pytest.fixture
def greedy_that(tmp_path, monkeypatch):
    """A stand-in for the package picsl-greedy, whose `execute` runs the given code; the child imports it, too."""

    def make(code: str) -> None:
        place = tmp_path / "standin"
        (place / "picsl_greedy-9.dist-info").mkdir(parents=True, exist_ok=True)
        (place / "picsl_greedy-9.dist-info" / "METADATA").write_text("Name: picsl-greedy\nVersion: 9\n")
        body = f"import os, time, signal\nclass Greedy3D:\n    def execute(self, *call, **images):\n        {code}\n"
        (place / "picsl_greedy.py").write_text(body)
        monkeypatch.syspath_prepend(place)
        monkeypatch.setenv("PYTHONPATH", str(place))

    return make


def partial_folders(store: Store) -> list[Path]:
    return list(store.folder.glob("*/.*"))


# ----- a result


def test_a_result_is_stored_whole_with_its_scores(pair, store):
    record = run(pair, "identity", store)
    assert record.done
    place = store.place(record)
    assert {path.name for path in place.iterdir()} == {"displacement.nrrd", "log.txt", "result.json"}
    assert not sitk.GetArrayFromImage(read_field(place / "displacement.nrrd")).any()
    fixed, moving = (read_segmentation(path) for path in (pair.fixed_segmentation, pair.moving_segmentation))
    expected = evaluate(fixed, moving.onto(fixed.geometry), moving)
    assert record.scores["dice_organs"] == expected["dice_organs"]
    assert record.scores["seconds"] == record.info["seconds"] == 0
    assert 30 < record.info["peak_memory_mb"] < 2000
    assert record.info["versions"]["mirrba"]
    assert (record.info["threads"], record.info["seed"]) == (1, 0)
    assert json.loads((place / "result.json").read_text())["method"] == "identity"
    assert list(store.records()) == [record]
    assert partial_folders(store) == []


def test_a_result_is_used_again(pair, store, monkeypatch):
    first = run(pair, "identity", store)
    monkeypatch.setattr(process, "run", None)
    assert run(pair, "identity", store) == first
    other = dataclasses.replace(pair, name="patient", centre="B")
    again = run(other, "identity", store)
    assert (again.pair, again.centre, again.scores) == ("patient", "B", first.scores)


def test_changed_segments_are_scored_again_without_a_registration(pair, store, monkeypatch):
    first = run(pair, "identity", store)
    monkeypatch.setattr(process, "run", None)
    shutil.copy(pair.moving_segmentation, pair.fixed_segmentation)
    second = run(pair, "identity", store)
    assert second.key == first.key
    assert second.scores["dice_organs"] > first.scores["dice_organs"]
    assert list(store.records()) == [second]


def test_scores_of_an_older_definition_are_made_again(pair, store, monkeypatch):
    first = run(pair, "identity", store)
    monkeypatch.setattr(process, "run", None)
    monkeypatch.setattr(scores, "REVISION", scores.REVISION + 1)
    second = run(pair, "identity", store)
    assert second.scores_key != first.scores_key
    assert second.scores == first.scores


def test_scores_that_cannot_be_made_leave_the_stored_result(pair, store):
    first = run(pair, "identity", store)
    pair.fixed_segmentation.write_bytes(b"no segmentation")
    broken = run(pair, "identity", store)
    assert not broken.done
    assert "cannot be read" in broken.message
    assert list(store.records()) == [first]


# ----- the key


def test_the_key_is_the_content_and_the_settings_that_matter(pair, store, tmp_path):
    greedy = find("greedy")
    key = key_of(pair, greedy, ONE)
    moved = dataclasses.replace(pair, name="b", fixed=Path(shutil.copy(pair.fixed, tmp_path / "copy.nii.gz")))
    assert key_of(moved, greedy, dataclasses.replace(ONE, timeout_s=5.0)) == key
    file = tmp_path / "checkpoint"
    file.write_bytes(b"weights")
    others = [
        key_of(dataclasses.replace(pair, fixed=pair.moving), greedy, ONE),
        key_of(pair, greedy.changed(metric="SSD"), ONE),
        key_of(pair, dataclasses.replace(greedy, revision=2), ONE),
        key_of(pair, find("syn"), ONE),
        key_of(pair, greedy, dataclasses.replace(ONE, threads=2)),
        key_of(pair, greedy, dataclasses.replace(ONE, seed=1)),
        key_of(pair, greedy, ONE, {"checkpoint": file}),
    ]
    assert len({key, *others}) == len(others) + 1
    file.write_bytes(b"other weights")
    assert key_of(pair, greedy, ONE, {"checkpoint": file}) != others[-1]


def test_the_key_changes_with_what_a_preset_stands_for(pair, monkeypatch):
    before = {name: key_of(pair, find(name), ONE) for name in ("default", "fast")}
    other = dataclasses.replace(PRESETS["default"], config=resolve("default", finish=(30, 50)))
    monkeypatch.setitem(PRESETS, "default", other)
    assert key_of(pair, find("default"), ONE) != before["default"]
    assert key_of(pair, find("fast"), ONE) == before["fast"]


def test_the_key_of_combined_changes_with_its_start(pair):
    combined = find("combined-greedy")
    changed = dataclasses.replace(combined, start=combined.start.changed(metric="SSD"))
    assert key_of(pair, combined, ONE) != key_of(pair, changed, ONE)


def test_the_key_changes_with_the_version_of_the_package(pair, greedy_that):
    before = key_of(pair, find("greedy"), ONE)
    greedy_that("pass")
    assert find("greedy").version() == "9"
    assert key_of(pair, find("greedy"), ONE) != before


# ----- failures


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "Greedy crashed (SIGSEGV); its log tells more."),
        ("os.kill(os.getpid(), signal.SIGKILL)", "Greedy was killed, most likely for lack of memory; its log"),
        ("os._exit(7)", "Greedy ended with code 7 and no result; its log tells more."),
        ("raise RuntimeError('ITK ERROR\\nNo valid points')", "Greedy failed: RuntimeError: No valid points."),
        ("raise MemoryError", "Greedy failed: This machine has too little memory"),
    ],
)
def test_whatever_a_package_does_becomes_a_sentence(pair, store, greedy_that, code, expected):
    greedy_that(code)
    record = run(pair, "greedy", store)
    assert record.status == "failed"
    assert record.message.startswith(expected)
    assert record.scores == {}
    assert (store.place(record) / "log.txt").is_file()


def test_what_a_package_writes_where_it_is_started_stays_in_its_own_folder(
    pair, store, greedy_that, monkeypatch, tmp_path
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    greedy_that("open('left-over', 'w').close(); raise RuntimeError('done')")
    run(pair, "greedy", Store("results"))
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["results"]
    assert not list(Path("results").rglob("left-over"))


def test_a_failure_is_stored_and_tried_again_only_when_asked(pair, store, greedy_that):
    greedy_that("raise RuntimeError('full moon')")
    first = run(pair, "greedy", store)
    greedy_that("raise RuntimeError('rain')")
    assert run(pair, "greedy", store) == first
    second = run(pair, "greedy", store, retry_failed=True)
    assert second.message == "Greedy failed: RuntimeError: rain."
    assert list(store.records()) == [second]
    assert partial_folders(store) == []


def test_a_missing_package_is_a_failure_of_its_own_key(pair, store, monkeypatch):
    with monkeypatch.context() as missing:
        missing.setitem(methods.PACKAGES, "greedy", "no-such-package-of-this-name")
        record = run(pair, "greedy", store)
        assert "is not installed" in record.message
    assert key_of(pair, find("greedy").in_brief(), ONE) != record.key


def test_combined_tells_of_its_start_s_failure(pair, store, greedy_that):
    greedy_that("raise RuntimeError('full moon')")
    record = run(pair, "combined-greedy", store)
    assert record.message == (
        "Combined (greedy) starts from Greedy, which has failed: Greedy failed: RuntimeError: full moon."
    )
    assert {r.method for r in store.records()} == {"greedy", "combined-greedy"}


def test_a_run_that_takes_too_long_is_stopped(pair, store, greedy_that, tmp_path):
    greedy_that(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(100)")
    started = time.monotonic()
    record = run(pair, "greedy", store, settings=Settings(threads=1, timeout_s=8.0))
    assert record.message == "Greedy took more than 8 s and was stopped; allow it more."
    assert time.monotonic() - started < 30
    assert not alive(int((tmp_path / "pid").read_text()))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_cancelled_run_stores_nothing(pair, store, greedy_that):
    greedy_that("time.sleep(100)")
    with pytest.raises(Cancelled):
        run(pair, "greedy", store, should_stop=lambda: True)
    assert list(store.records()) == []
    assert partial_folders(store) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's end")
def test_a_run_ends_with_the_study_that_was_killed(pair, store, greedy_that, tmp_path):
    pid = tmp_path / "pid"
    greedy_that(f"open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(100)")
    code = (
        "from mirrba.experiment.run_pair import run_pair; from mirrba.experiment.cohort import read_cohort; "
        "from mirrba.experiment.methods import find; from mirrba.experiment.store import Store; "
        "from mirrba.experiment.task import Settings; "
        f"pair = read_cohort({str(pair.fixed.parents[1])!r}).pairs[0]; "
        f"run_pair(pair, find('greedy').in_brief(), Settings(threads=1), Store({str(store.folder)!r}))"
    )
    module = Path(process.__file__).parents[2]
    path = os.pathsep.join([os.environ["PYTHONPATH"], str(module)])
    study = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path})
    assert within(60, lambda: pid.exists() and pid.read_text() != "")
    study.send_signal(signal.SIGKILL)
    study.wait()
    assert within(10, lambda: not alive(int(pid.read_text())))
    assert list(store.records()) == []
    assert len(partial_folders(store)) == 1


def within(seconds: float, condition) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


# ----- the store


def test_what_was_left_behind_is_swept_when_it_is_old(store):
    new, old = store.work_folder("greedy"), store.work_folder("greedy")
    (old / "x").write_text("x")
    for path in (old / "x", old):
        os.utime(path, (1e9, 1e9))
    store.sweep()
    assert partial_folders(store) == [new]


def test_what_a_killed_rescoring_left_behind_is_swept_when_it_is_old(pair, store):
    place = store.place(run(pair, "identity", store))
    new, old = (place / f".partial-{word}-result.json" for word in ("0a1b2c3d", "4e5f6a7b"))
    for path in (new, old):
        path.write_text("{")
    os.utime(old, (1e9, 1e9))
    store.sweep()
    assert list(place.glob(".*")) == [new]
    assert (place / "result.json").exists()


def test_a_result_that_another_process_stored_meanwhile_stays(pair, store):
    first = run(pair, "identity", store)
    work = store.work_folder("identity")
    late = dataclasses.replace(first, info={"seconds": 99})
    assert store.save(late, work) == first
    assert list(store.records()) == [first]
    assert partial_folders(store) == []


def test_two_at_once_give_one_result(pair, store):
    found = []
    runs = [threading.Thread(target=lambda: found.append(run(pair, "identity", store))) for _ in range(2)]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    assert found[0].key == found[1].key
    assert len(list(store.records())) == 1
    assert partial_folders(store) == []


def test_a_damaged_result_counts_as_none(pair, store):
    record = run(pair, "identity", store)
    (store.place(record) / "result.json").write_text("{")
    assert store.load("identity", record.key) is None
    assert run(pair, "identity", store).done
    assert len(list(store.records())) == 1


# ----- Combined


def test_combined_runs_its_start_once_and_adds_its_time(pair, store):
    pytest.importorskip("picsl_greedy")
    combined = run(pair, "combined-greedy", store)
    assert combined.done, combined.message
    start = next(record for record in store.records() if record.method == "greedy")
    assert combined.info["start"]["key"] == start.key
    assert combined.scores["seconds"] == pytest.approx(start.info["seconds"] + combined.info["seconds_own"], abs=1e-3)
    assert combined.info["peak_memory_mb"] >= start.info["peak_memory_mb"]
    # A few iterations on top of the start stay near it.
    fields = [read_field(store.place(record) / "displacement.nrrd") for record in (start, combined)]
    first, second = map(sitk.GetArrayFromImage, fields)
    change = np.linalg.norm(first - second, axis=-1).mean()
    assert 0 < change < 0.3 * np.linalg.norm(first, axis=-1).mean()


def test_every_method_can_be_given_to_a_process(pair, tmp_path):
    """What reaches the child is what the table says."""
    for name, method in METHODS.items():
        folder = tmp_path / name
        folder.mkdir()
        process.write_task(Task(method, pair.fixed, pair.moving, ONE), folder)
        assert json.loads((folder / "job.json").read_text())["method"]["backend"] == method.backend
