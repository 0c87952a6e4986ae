"""What may befall a run from outside, with real processes, signals, disks and pipes: docs/reliability.md lists it."""

import ast
import contextlib
import fcntl
import gc
import hashlib
import json
import os
import resource
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
import torch
from mirrba import job as jobs
from mirrba import register
from mirrba.errors import MirrbaError
from mirrba.geometry import Geometry
from mirrba.presets import resolve
from mirrba.segments import Segment, Segmentation

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "MIRRBARegistration"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(MODULE)}
QUICK = {"preset": "fast", "device": "cpu", "spacing": 24, "start": "3,3"}
EVERY_STAGE = {
    "preset": "mirrba-depth-2", "device": "cpu", "spacing": 24, "init": "affine",
    "start": "2,2", "iterations": "2,2", "finish": "2,2",
}  # fmt: skip
LONG = 300  # seconds that anything may take on a machine that is busy


def job_folder(parent: Path, pair_folder: Path, config: dict) -> Path:
    folder = parent / "job"
    folder.mkdir()
    for name in ("fixed.nii.gz", "moving.nii.gz"):
        shutil.copy(pair_folder / name, folder)
    job = {"schema": 1, "task": "register", "fixed": "fixed.nii.gz", "moving": "moving.nii.gz", "config": config}
    (folder / "job.json").write_text(json.dumps(job))
    return folder


def worker(folder: Path, **more) -> subprocess.Popen:
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, **more}
    return subprocess.Popen([sys.executable, "-m", "mirrba.worker", str(folder)], text=True, env=ENVIRONMENT, **streams)


def command(pair_folder: Path, out: Path, *more) -> list[str]:
    files = [str(pair_folder / f"{name}.nii.gz") for name in ("fixed", "moving")]
    quick = ["--preset", "fast", "--device", "cpu", "--spacing", "24", "--set", "start=3,3"]
    return [sys.executable, "-m", "mirrba", "register", *files, "-o", str(out), *quick, *more]


def run(arguments: list[str], **more) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, capture_output=True, text=True, env=ENVIRONMENT, timeout=LONG, check=False, **more)


def events_of(process: subprocess.Popen) -> list[dict]:
    events = [json.loads(line) for line in process.stdout]
    process.wait(LONG)
    return events


# Cancelling


@pytest.mark.parametrize(
    "stage",
    ["", "preparing", "start 1 of 2", "level 2 of 2", "finish 1 of 2"],
)
def test_a_run_is_cancelled_at_every_stage_and_leaves_nothing(pair_folder, tmp_path, stage):
    folder = job_folder(tmp_path, pair_folder, EVERY_STAGE)
    process = worker(folder)
    if stage:
        assert any(json.loads(line).get("stage") == stage for line in process.stdout)
    process.stdin.write("cancel\n")
    process.stdin.flush()
    last = events_of(process)[-1]
    assert (process.returncode, last["kind"]) == (3, "cancelled")
    assert not list(folder.glob("output/*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_command_line_while_it_writes_and_leave_nothing_half_written(pair_folder, tmp_path, number):
    process = subprocess.Popen(
        command(pair_folder, tmp_path / "out", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )  # fmt: skip
    assert any(json.loads(line).get("stage") == jobs.FINISH for line in process.stdout)
    process.send_signal(number)
    _, error = process.communicate(timeout=LONG)
    assert process.returncode == 3
    assert error.startswith("mirrba: The run was cancelled; ")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [jobs.UNFINISHED]


# The parent and the pipes to it


def test_a_parent_that_does_not_read_holds_nothing_up(pair_folder, tmp_path):
    """The pipe holds less than one event beyond the first; the result is there before anything is read."""
    folder = job_folder(tmp_path, pair_folder, {**EVERY_STAGE, "iterations": "8,2"})
    process = worker(folder)
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    wait_until(lambda: (folder / "output/result.json").exists() or process.poll() is not None)
    events = events_of(process)
    assert events[-1]["event"] == "done"
    assert events[0]["stage"] == "preparing"


def test_a_parent_that_does_not_read_can_still_cancel(pair_folder, tmp_path):
    folder = job_folder(tmp_path, pair_folder, {**EVERY_STAGE, "iterations": "100000,2"})
    process = worker(folder)
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    process.stdout.readline()  # it has begun
    time.sleep(1)
    process.stdin.write("cancel\n")
    process.stdin.flush()
    assert process.wait(LONG) == 3
    assert not list(folder.glob("output/*"))


def test_a_blocked_pipe_and_a_cancel_end_the_process_without_a_last_word(pair_folder, tmp_path):
    """The last event finds the pipe full and nobody reads it, ever."""
    folder = job_folder(tmp_path, pair_folder, {**EVERY_STAGE, "iterations": "100000,2"})
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writing, b"x" * 4096)
    process = worker(folder, stdout=writing)
    time.sleep(1)
    process.stdin.write("cancel\n")
    process.stdin.flush()
    assert process.wait(LONG) == 3
    os.close(reading)
    os.close(writing)


def test_a_parent_that_leaves_ends_the_run(pair_folder, tmp_path):
    folder = job_folder(tmp_path, pair_folder, {**EVERY_STAGE, "iterations": "100000,2"})
    process = worker(folder)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(LONG) == 3


@pytest.mark.parametrize(("stream", "closing"), [("stdin", "<&-"), ("stdin", "</dev/null"), ("stdout", ">&-")])
def test_without_a_parent_s_streams_there_is_nobody_to_work_for(pair_folder, tmp_path, stream, closing):
    folder = job_folder(tmp_path, pair_folder, {**EVERY_STAGE, "iterations": "100000,2"})
    done = run(["bash", "-c", f'"$0" -m mirrba.worker "$1" {closing}', sys.executable, str(folder)], input="")
    assert done.returncode == 3
    assert not list(folder.glob("output/*"))


def test_the_command_line_needs_no_streams(pair_folder, tmp_path):
    line = command(pair_folder, tmp_path / "out")
    done = run(["bash", "-c", '"$0" "$@" <&- >&- 2>&-', *line])
    assert done.returncode == 0
    assert (tmp_path / "out/result.json").exists()


# The disk


@contextlib.contextmanager
def small_disk(place: Path, size: str):
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("no disk can be mounted here (that takes root); test_a_file_that_may_not_grow covers Linux")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("size", ["100k", "1500k"])
def test_a_full_disk_ends_with_a_sentence_and_the_older_result_stays(pair_folder, tmp_path, size):
    """At each size another file is the one that does not fit."""
    with small_disk(tmp_path / "disk", size):
        out = tmp_path / "disk" / "out"
        out.mkdir()
        (out / "result.json").write_text("{}")
        done = run(command(pair_folder, out))
        assert done.returncode == 1, done.stderr
        assert "the results could not be written" in done.stderr.splitlines()[-1]
        assert "make room there" in done.stderr.splitlines()[-1]
        assert {path.name for path in out.iterdir()} <= {"result.json", jobs.UNFINISHED}
        assert (out / "result.json").read_text() == "{}"


def test_a_file_that_may_not_grow_is_a_full_disk(pair_folder, tmp_path):
    done = run(
        command(pair_folder, tmp_path / "out"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 1, done.stderr
    assert "the results could not be written" in done.stderr
    assert not (tmp_path / "out/result.json").exists()


def test_a_nifti_file_that_itk_cut_short_without_a_word_is_noticed(tmp_path):
    image = sitk.GaussianSource(sitk.sitkFloat32, [40, 40, 40], sigma=[9.0] * 3, mean=[20.0] * 3)
    with pytest.raises(OSError, match="disk full"):
        in_child(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)), jobs._write_nifti, image, tmp_path)


def test_a_segmentation_that_does_not_fit_is_a_full_disk(tmp_path):
    def write(segmentation, path):
        try:
            with jobs._staging_in(tmp_path) as staging:
                segmentation.write(staging / "warped_segmentation.seg.nrrd")
        except MirrbaError as error:
            raise OSError(MirrbaError.exit_code if "make room there" in str(error) else 99, "full") from None

    labels = np.random.default_rng(0).integers(0, 2, (40, 40, 40)).astype(np.uint8)
    segmentation = Segmentation(
        (Segment("noise", labels, "organ"),), Geometry.from_image(sitk.GetImageFromArray(labels))
    )
    with pytest.raises(OSError, match="disk full") as caught:
        in_child(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)), write, segmentation, tmp_path)
    assert caught.value.errno == MirrbaError.exit_code
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("field_first", [True, False])
def test_a_transform_that_does_not_fit_is_noticed_before_hdf5_writes_it(tmp_path, capfd, field_first):
    field = sitk.DisplacementFieldTransform(sitk.Image([20, 20, 20], sitk.sitkVectorFloat64))
    both = [field, sitk.AffineTransform(3)]
    composite = sitk.CompositeTransform(both if field_first else both[::-1])
    jobs._write_transform(composite, tmp_path / "whole.h5")
    size = (tmp_path / "whole.h5").stat().st_size

    def write(transform, path):
        jobs._write_transform(transform, path.with_suffix(".h5"))

    limit = (size - 1, size - 1)
    with pytest.raises(OSError, match="disk full"):
        in_child(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit), write, composite, tmp_path)
    assert "HDF5" not in capfd.readouterr().err


def in_child(limit, write, image, folder) -> None:
    """Call `write` under a limit that a process cannot lift again."""
    child = os.fork()
    if child == 0:
        limit()
        try:
            write(image, folder / "image.nii.gz")
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    number = os.waitstatus_to_exitcode(status)
    if number:
        raise OSError(number, "is the disk full?")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_log_on_a_full_disk_costs_no_result(pair_folder, tmp_path):
    folder = job_folder(tmp_path, pair_folder, QUICK)
    with open("/dev/full", "w") as full:
        process = worker(folder, stderr=full)
        assert events_of(process)[-1]["event"] == "done"
    assert process.returncode == 0


def test_a_level_that_cannot_be_kept_costs_the_resuming_and_not_the_run(pair_folder, tmp_path):
    out = tmp_path / "out"
    (out / jobs.UNFINISHED).mkdir(parents=True)
    (out / jobs.UNFINISHED / "in the way").write_text("")
    subprocess.run(["chattr", "+i", str(out / jobs.UNFINISHED)], check=False, capture_output=True)
    try:
        if _can_write(out / jobs.UNFINISHED):
            pytest.skip("no folder can be closed to root here")
        done = run(command(pair_folder, out))
    finally:
        subprocess.run(["chattr", "-i", str(out / jobs.UNFINISHED)], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "could not be kept" in done.stderr


def _can_write(folder: Path) -> bool:
    try:
        (folder / "probe").touch()
    except OSError:
        return False
    return True


def test_a_command_that_is_ended_after_its_reader_has_left_says_so_in_a_sentence(pair_folder, tmp_path):
    quick = command(pair_folder, tmp_path / "out", "--json")
    long = [argument.replace("start=3,3", "start=100000,3") for argument in quick]
    process = subprocess.Popen(long, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    process.stdout.readline()
    process.stdout.close()
    process.send_signal(signal.SIGTERM)
    said = process.stderr.read().splitlines()
    assert process.wait(LONG) in (1, 3)  # the reader was missed, or the signal came first
    assert not any("Traceback" in line or "BrokenPipe" in line for line in said), said
    assert not (tmp_path / "out/result.json").exists()


def test_an_output_folder_that_is_removed_meanwhile_is_made_again(pair_folder, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(command(pair_folder, out, "--json"), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    process.stdout.readline()
    shutil.rmtree(out)
    events = events_of(process)
    assert events[-1]["event"] == "done"
    assert (out / "result.json").exists()


@pytest.mark.parametrize("becomes", ["another", "none"])
def test_the_sums_in_the_result_are_those_of_the_files_that_were_registered(pair_folder, tmp_path, becomes):
    folder = job_folder(tmp_path, pair_folder, QUICK)
    moving = folder / "moving.nii.gz"
    registered = hashlib.sha256(moving.read_bytes()).hexdigest()

    def tell(event):
        if event.get("stage") == "start 1 of 2" and moving.exists():
            moving.unlink()
            if becomes == "another":
                shutil.copy(pair_folder / "fixed.nii.gz", moving)

    jobs.run(jobs.read_job(folder), tmp_path / "out", tell, lambda: False)
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["inputs_sha256"]["moving"] == registered


def test_what_a_killed_run_left_behind_is_swept(pair_folder, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(command(pair_folder, out, "--json"), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert any(json.loads(line).get("stage") == jobs.FINISH for line in process.stdout)
    wait_until(lambda: list(out.glob(f"{jobs.PARTIAL}*")) or process.poll() is not None)
    process.kill()
    process.communicate()
    assert not (out / "result.json").exists()
    (out / f"{jobs.PARTIAL}left").mkdir(exist_ok=True)
    assert run(command(pair_folder, out)).returncode == 0
    assert not list(out.glob(".*"))


# Two at once


def test_two_runs_at_once_come_to_the_results_of_one(pair_folder, tmp_path):
    folders = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        folders.append(job_folder(tmp_path / name, pair_folder, QUICK))
    processes = [worker(folder) for folder in folders]
    assert [events_of(process)[-1]["event"] for process in processes] == ["done", "done"]
    sums = [json.loads((folder / "output/result.json").read_text())["outputs_sha256"] for folder in folders]
    same = ("warped.nii.gz", "jacobian.nii.gz", "overlay.png")
    assert [sums[0][name] for name in same] == [sums[1][name] for name in same]


def test_two_runs_in_one_folder_are_refused(pair_folder, tmp_path):
    out = tmp_path / "out"
    first = subprocess.Popen(command(pair_folder, out, "--json"), stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    first.stdout.readline()
    first.send_signal(signal.SIGSTOP)  # it keeps its claim for as long as the other takes
    try:
        second = run(command(pair_folder, out))
    finally:
        first.send_signal(signal.SIGCONT)
    assert second.returncode == 2
    assert "another registration is writing there" in second.stderr
    assert events_of(first)[-1]["event"] == "done"


# Clocks, leaks


def test_a_clock_that_jumps_changes_no_time(pair_folder, monkeypatch):
    jumps = iter(range(0, -(10**9), -86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    events = []
    pair = [sitk.ReadImage(str(pair_folder / f"{name}.nii.gz"), sitk.sitkFloat32) for name in ("fixed", "moving")]
    started = time.monotonic()
    result = register(*pair, resolve(**{**QUICK, "start": "8,8"}), on_progress=events.append)
    elapsed = [event.elapsed for event in events]
    assert elapsed == sorted(elapsed)
    assert 0 <= result.provenance["seconds"] <= time.monotonic() - started + 0.01
    assert all(event.remaining is None or event.remaining >= 0 for event in events)


def test_no_duration_is_taken_from_the_wall_clock():
    """Only a file's age is compared with it: the disk keeps that in wall-clock time."""
    found = []
    for path in sorted(MODULE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "time.time",
                "datetime.now",
                "datetime.utcnow",
            ):
                found.append(path.relative_to(MODULE).as_posix())
    assert found == ["mirrba/experiment/store.py"]


def held() -> tuple[int, int, int]:
    """Tensors, threads and open files of this process."""
    gc.collect()
    tensors = sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())
    return tensors, threading.active_count(), len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")
def test_runs_in_one_process_leave_no_tensor_thread_or_file_behind(pair_folder, tmp_path):
    """What `make soak` measures in bytes over 20 runs."""
    config = resolve(**{key: value for key, value in EVERY_STAGE.items() if key != "init"})
    job = jobs.Job(pair_folder / "fixed.nii.gz", pair_folder / "moving.nii.gz", None, None, config, keeps_stages=True)
    counts = []
    for number in range(3):
        jobs.run(job, tmp_path / str(number), lambda event: None, lambda: False)
        counts.append(held())
    assert counts[2] == counts[1]  # the first run fills the caches


def wait_until(condition) -> None:
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
