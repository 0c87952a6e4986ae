"""The child process seen from its parent: with a made-up process, and with real small ones."""

import gc
import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from MIRRBARegistrationLib import BackgroundJob, InputError, JobState, RegistrationError
from MIRRBARegistrationLib import backgroundJob as module

DONE = '{"event": "done", "output": "output", "metrics": {}}'


class Witness:
    """What the job delivered."""

    def __init__(self):
        self.events, self.imported = [], []


@pytest.fixture
def witness():
    return Witness()


def jobOf(folder: Path, witness: Witness, startProcess, graceSeconds=3.0) -> BackgroundJob:
    return BackgroundJob(
        folder, witness.imported.append, witness.events.append, startProcess=startProcess, graceSeconds=graceSeconds
    )


# A made-up process


class FakeProcess:
    """Says these lines, then ends with this exit code; None: goes on until it is killed."""

    pid = -1

    def __init__(self, *lines: str, exitCode: int | None = 0):
        self.stdin = io.BytesIO()
        self.stdout = io.BytesIO("".join(line + "\n" for line in lines).encode())
        self.exitCode = exitCode
        self.killed = False
        self.started: tuple | None = None

    def __call__(self, *started):
        self.started = started
        return self

    def poll(self):
        return self.exitCode

    def wait(self, timeout=None):
        return self.exitCode

    def kill(self):
        self.killed, self.exitCode = True, -9


def progress(iteration: int) -> str:
    return f'{{"event": "progress", "iteration": {iteration}}}'


def test_the_worker_is_started_on_the_job_folder_with_the_engine_importable(tmp_path, witness, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "inherited")
    process = FakeProcess(DONE)
    jobOf(tmp_path, witness, process).start()
    arguments, environment, logPath = process.started
    assert arguments == [sys.executable, "-m", "mirrba.worker", str(tmp_path)]
    engine, inherited = environment["PYTHONPATH"].split(os.pathsep)
    assert (Path(engine) / "mirrba" / "worker.py").is_file()
    assert inherited == "inherited"
    assert logPath == tmp_path / "log.txt"


def test_inside_slicer_its_own_interpreter_is_used(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/slicer/bin/{name}")
    assert module.defaultPythonExecutable() == "/slicer/bin/PythonSlicer"


def test_events_arrive_in_order_and_only_through_poll(tmp_path, witness):
    warning = '{"event": "warning", "message": "slow"}'
    job = jobOf(tmp_path, witness, FakeProcess(progress(1), warning, progress(2), DONE))
    assert job.state is JobState.IDLE
    job.start()
    assert job.state is JobState.STARTING
    time.sleep(0.1)
    assert not witness.events
    assert job.wait(5) is JobState.DONE
    assert [event.get("iteration", event.get("message")) for event in witness.events] == [1, "slow", 2]
    assert [event["event"] for event in witness.imported] == ["done"]


def test_the_job_is_importing_while_results_are_loaded_and_does_not_load_them_twice(tmp_path):
    """Loading may let the application process its events, among them the timer that polls."""
    states = []
    job = BackgroundJob(tmp_path, lambda done: states.append((job.state, job.poll())), print, FakeProcess(DONE))
    job.start()
    assert job.wait(5) is JobState.DONE
    assert states == [(JobState.IMPORTING, JobState.IMPORTING)]


def test_a_child_that_is_done_but_does_not_end_is_killed_and_its_result_is_loaded(tmp_path, witness):
    process = FakeProcess(DONE, exitCode=None)
    job = jobOf(tmp_path, witness, process, graceSeconds=0.1)
    job.start()
    assert job.wait(5) is JobState.DONE
    assert process.killed
    assert witness.imported


def test_a_child_that_crashes_at_its_exit_has_still_delivered(tmp_path, witness):
    """result.json decides, and importResults looks at it: a device driver may crash on the way out."""
    job = jobOf(tmp_path, witness, FakeProcess(DONE, exitCode=-11))
    job.start()
    assert job.wait(5) is JobState.DONE


def test_a_result_that_cannot_be_loaded_is_a_failure(tmp_path):
    for raised, message in (
        (InputError("The fixed volume is gone."), "The fixed volume is gone."),
        (KeyError("x"), "'x'"),
    ):

        def fail(done, raised=raised):
            raise raised

        job = BackgroundJob(tmp_path, fail, print, FakeProcess(DONE))
        job.start()
        assert job.wait(5) is JobState.FAILED
        assert message in str(job.error)


@pytest.mark.parametrize("kind", ["input", "memory", "internal"])
def test_the_engines_error_reaches_the_caller_in_its_own_words(tmp_path, witness, kind):
    error = f'{{"event": "error", "kind": "{kind}", "message": "Too small; crop less."}}'
    job = jobOf(tmp_path, witness, FakeProcess(progress(1), error, exitCode=2))
    job.start()
    assert job.wait(5) is JobState.FAILED
    assert (str(job.error), job.error.kind) == ("Too small; crop less.", kind)
    assert not witness.imported


def test_a_child_that_was_told_to_stop_by_somebody_else_counts_as_cancelled(tmp_path, witness):
    error = '{"event": "error", "kind": "cancelled", "message": "Cancelled."}'
    job = jobOf(tmp_path, witness, FakeProcess(error, exitCode=3))
    job.start()
    assert job.wait(5) is JobState.CANCELLED
    assert job.error is None


@pytest.mark.parametrize(
    "line", ["no JSON", "[1, 2]", '"done"', '{"event": 3}', '{"no": "event"}', '{"event": "done"', "\x00\xff"]
)
def test_what_is_no_event_goes_to_the_log_and_stops_nothing(tmp_path, witness, line):
    job = jobOf(tmp_path, witness, FakeProcess(line, progress(1), DONE))
    job.start()
    assert job.wait(5) is JobState.DONE
    assert len(witness.events) == 1
    assert line in job.logText()


def test_an_interpreter_that_cannot_be_started_is_a_failure(tmp_path, witness):
    job = BackgroundJob(tmp_path, witness.imported.append, print, pythonExecutable=str(tmp_path / "no-python"))
    job.start()
    assert job.poll() is JobState.FAILED
    assert "no-python" in str(job.error)


def test_a_job_is_started_once(tmp_path, witness):
    job = jobOf(tmp_path, witness, FakeProcess(DONE))
    job.start()
    with pytest.raises(RuntimeError):
        job.start()


# Real processes


PRELUDE = """
import os, signal, sys, time

def say(line):
    print(line, flush=True)

def sayPid():
    say('{"event": "progress", "pid": %d}' % os.getpid())
"""


def child(code: str):
    """A startProcess that runs this code instead of the worker."""
    program = PRELUDE + textwrap.dedent(code)

    def start(arguments, environment, logPath):
        return module.startProcess([sys.executable, "-c", program, *arguments[3:]], environment, logPath)

    return start


def isRunning(pid: int) -> bool:
    """Neither gone nor a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assertEnds(pid: int, seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while isRunning(pid):
        assert time.monotonic() < end, "the process is still running"
        time.sleep(0.02)


linuxOnly = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
STUBBORN = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sayPid()
    time.sleep(60)
"""


def firstPid(job: BackgroundJob, witness: Witness, count: int = 1) -> int:
    end = time.monotonic() + 20
    while len(witness.events) < count:
        assert time.monotonic() < end, job.logText()
        job.poll()
        time.sleep(0.01)
    return witness.events[-1]["pid"]


def test_a_real_child_reports_and_is_done(tmp_path, witness):
    job = jobOf(tmp_path, witness, child(f"sayPid(); print('on stderr', file=sys.stderr); say('{DONE}')"))
    job.start()
    assert job.wait(20) is JobState.DONE
    assert len(witness.events) == 1
    assert job.logText() == "on stderr\n"


def test_silence_and_death_become_one_sentence_with_the_end_of_the_log(tmp_path, witness):
    code = """
        for i in range(30):
            print("line", i, file=sys.stderr)
        sys.exit(7)
    """
    job = jobOf(tmp_path, witness, child(code))
    job.start()
    assert job.wait(20) is JobState.FAILED
    message = str(job.error)
    assert job.error.message == "The engine stopped without a result (exit code 7); its log says more."
    assert message.endswith("line 28\nline 29")
    assert "line 20" not in message
    assert "line 0\n" in job.logText()


def test_a_child_that_is_killed_from_outside_is_a_failure(tmp_path, witness):
    job = jobOf(tmp_path, witness, child(STUBBORN))
    job.start()
    os.kill(firstPid(job, witness), signal.SIGKILL)
    assert job.wait(5) is JobState.FAILED
    assert "exit code -9" in str(job.error)
    assert "memory" in str(job.error)


def test_a_child_that_died_behind_its_launcher_is_said_to_have_been_killed(tmp_path, witness):
    """PythonSlicer goes on, says so, and ends with 1."""
    code = """
        print("PythonSlicer: exit abnormally - Report the problem.", file=sys.stderr)
        sys.exit(1)
    """
    job = jobOf(tmp_path, witness, child(code))
    job.start()
    assert job.wait(20) is JobState.FAILED
    assert "killed or crashed (exit code 1)" in job.error.message
    assert "memory" in job.error.message


def test_a_module_in_the_current_folder_does_not_take_the_place_of_python_s_own(tmp_path, witness, monkeypatch):
    (tmp_path / "statistics.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-c", "import statistics"]
    done = subprocess.run(command, env=module.workerEnvironment(), check=False)
    assert done.returncode == 0


def test_much_on_both_streams_does_not_block_the_child(tmp_path, witness):
    code = f"""
        for i in range(50):
            sys.stderr.write("e" * 100_000 + "\\n")
            sys.stdout.write("o" * 100_000 + "\\n")
        sys.stdout.write("o" * 3_000_000)
        say('\\n{DONE}')
    """
    job = jobOf(tmp_path, witness, child(code))
    job.start()
    assert job.wait(30) is JobState.DONE
    assert len(job.logText()) == module.LOG_LIMIT_BYTES


def test_a_child_that_obeys_is_cancelled_within_a_second(tmp_path, witness):
    code = f"""
        sayPid()
        assert sys.stdin.readline() == "cancel\\n"
        say('{DONE}')
    """
    job = jobOf(tmp_path, witness, child(code))
    job.start()
    pid = firstPid(job, witness)
    job.cancel()
    assert job.state is JobState.CANCELLING
    assert job.wait(2) is JobState.CANCELLED  # sooner than it would be killed
    assert not isRunning(pid)
    assert not witness.imported
    assert job.error is None


OBEDIENT = f"""
    sayPid()
    assert sys.stdin.readline() == "keep\\n"
    time.sleep(0.5)
    sayPid()
    say('{{"event": "preview", "file": "preview-1.nrrd"}}')
    if sys.stdin.readline() == "cancel\\n":
        sys.exit(3)
    say('{DONE}')
"""


def test_a_child_that_keeps_its_state_is_waited_for_and_heard(tmp_path, witness):
    job = jobOf(tmp_path, witness, child(OBEDIENT.replace('sys.stdin.readline() == "cancel', "'' == \"cancel")), 0.1)
    job.start()
    job.keep()
    assert job.state is JobState.STARTING  # there is nothing to keep yet
    firstPid(job, witness)
    job.keep()
    assert job.state is JobState.KEEPING
    job.keep()
    assert job.wait(5) is JobState.DONE  # though it took longer than the grace time
    assert [event["event"] for event in witness.events] == ["progress", "progress", "preview"]
    job.keep()
    assert job.state is JobState.DONE


def test_a_child_that_keeps_its_state_can_still_be_cancelled(tmp_path, witness):
    job = jobOf(tmp_path, witness, child(OBEDIENT))
    job.start()
    firstPid(job, witness)
    job.keep()
    job.cancel()
    assert job.state is JobState.CANCELLING
    assert job.wait(2) is JobState.CANCELLED
    assert not witness.imported


@linuxOnly
def test_a_child_that_does_not_obey_is_killed_with_all_that_it_started(tmp_path, witness):
    code = """
        if os.fork() == 0:
            sayPid()
            time.sleep(60)
        time.sleep(60)
    """
    job = jobOf(tmp_path, witness, child(code), graceSeconds=0.3)
    job.start()
    grandchild = firstPid(job, witness)
    job.cancel()
    assert job.wait(5) is JobState.CANCELLED
    assertEnds(grandchild)


@linuxOnly
def test_what_a_dead_child_leaves_behind_does_not_hold_the_job_up(tmp_path, witness):
    code = """
        if os.fork() == 0:
            sayPid()
            time.sleep(60)
        time.sleep(0.5)
        os._exit(5)
    """
    job = jobOf(tmp_path, witness, child(code), graceSeconds=0.3)
    job.start()
    orphan = firstPid(job, witness)
    assert job.wait(10) is JobState.FAILED
    assertEnds(orphan)


@linuxOnly
def test_closing_ends_the_child_at_once(tmp_path, witness):
    job = jobOf(tmp_path, witness, child(STUBBORN))
    job.start()
    pid = firstPid(job, witness)
    job.close()
    assert job.state is JobState.CANCELLED
    assert not isRunning(pid)
    job.close()


@linuxOnly
def test_a_job_that_is_dropped_takes_its_child_along(tmp_path, witness):
    job = jobOf(tmp_path, witness, child(STUBBORN))
    job.start()
    pid = firstPid(job, witness)
    del job
    gc.collect()
    assertEnds(pid)


PARENT = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(module.ENGINE_FOLDER)!r})
from MIRRBARegistrationLib.backgroundJob import BackgroundJob, startProcess

def start(arguments, environment, log):
    return startProcess([sys.executable, "-c", {PRELUDE + "sayPid(); sys.stdin.read()"!r}], environment, log)

job = BackgroundJob(Path(sys.argv[1]), print, lambda event: print(event["pid"], flush=True), start)
job.start()
job.wait(None if sys.argv[2] == "killed" else 1)
"""


@linuxOnly
@pytest.mark.parametrize("end", ["killed", "exits"])
def test_the_death_of_the_parent_ends_the_child(tmp_path, end):
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), end], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    assert isRunning(pid)
    if end == "killed":
        parent.kill()
    parent.wait(20)
    parent.stdout.close()
    assertEnds(pid)


def test_the_errors_of_the_slicer_side_have_the_engines_kinds():
    assert InputError("x").kind == "input"
    assert RegistrationError("x").kind == "internal"
