"""Anything at all as a job file, as a command line, as a file: one sentence or success, and no file but in the output.

The registration itself, which may rightly take hours, is left out: what reaches it counts as cancelled. No chance is in
the examples, but hypothesis takes some values from the modules that are loaded, so a run of all tests tries others than
one of this file alone. docs/reliability.md counts them.
"""

import contextlib
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hostile import body
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mirrba import cli, job, presets, registration
from mirrba.errors import Cancelled, MirrbaError
from mirrba.geometry import Geometry
from mirrba.segments import Segment, Segmentation
from reading import Reading

JOBS = 300
JOB_TEXTS = 200
COMMANDS = 400
DAMAGED = 150  # per format

pytestmark = pytest.mark.filterwarnings("error")  # numpy's would reach the user

LANDMARKS = "name,fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\nliver,1,2,3,4,5,6\n"


def examples(count: int):
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return settings(max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=slow)


def small(seed: int) -> sitk.Image:
    return body((10, 9, 12), (40.0, 40.0, 40.0), seed)


def write_inputs(folder: Path) -> None:
    """One good file of every kind."""
    sitk.WriteImage(small(1), str(folder / "fixed.nrrd"))
    sitk.WriteImage(small(2), str(folder / "moving.nii.gz"))
    sitk.WriteImage(small(1), str(folder / "plain.nii"))
    sitk.WriteImage(small(1), str(folder / "plain.mha"))
    sitk.WriteImage(small(1), str(folder / "packed.mha"), True)
    mask = sitk.GetArrayFromImage(small(1)) > 0.5
    segments = (Segment("brain", mask, "organ"), Segment("lesion", np.roll(mask, 1, 0), "lesion"))
    Segmentation(segments, Geometry.from_image(small(1))).write(folder / "s.seg.nrrd")
    labels = sitk.GetImageFromArray(mask.astype(np.uint8))
    labels.CopyInformation(small(1))
    sitk.WriteImage(labels, str(folder / "labels.nii.gz"))
    field = sitk.DisplacementFieldTransform(sitk.Image([5, 6, 7], sitk.sitkVectorFloat64))
    for name, transform in (
        ("t.tfm", sitk.AffineTransform(3)), ("t.mat", sitk.AffineTransform(3)), ("t.h5", field),
    ):  # fmt: skip
        sitk.WriteTransform(transform, str(folder / name))
    (folder / "points.csv").write_text(LANDMARKS)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the inputs, in which the process is; nothing here is registered."""

    def stop(*arguments, **settings):
        raise Cancelled("This is a test.")

    folder = tmp_path_factory.mktemp("place")
    write_inputs(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(registration, "register", stop)
        patch.setattr("mirrba.phantom.write_pairs", stop)
        patch.setattr("mirrba.experiment.study.run_study", stop)
        patch.setattr("mirrba.experiment.benchmark.run_benchmark", stop)
        yield folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_only_within(output: Path | None, before: dict[Path, bytes], folder: Path) -> None:
    after = contents(folder)
    changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
    assert all(output is not None and path.is_relative_to(output) for path in changed), changed


# Jobs

FILES = ["fixed.nrrd", "moving.nii.gz", "s.seg.nrrd", "labels.nii.gz", "t.h5", "points.csv", "missing", "job.json"]
OUTSIDE = ["..", ".", "", "../fixed.nrrd", "/etc/passwd", "output", "a/b", "a\\b", "C:\\x", "n" * 300, "a\0b", "\ud800"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
FILE = st.sampled_from([*FILES, *OUTSIDE]) | st.none() | ANYTHING
SETTING = st.sampled_from([*presets.Config.__dataclass_fields__, "speed", ""])
VALUE = ANYTHING | st.sampled_from(["fast", "cpu", "none", "affine", "1,2", "fixed.nrrd", 3, 4.0])
JOB = st.fixed_dictionaries(
    {},
    optional={
        "schema": st.just(1) | ANYTHING,
        "task": st.just("register") | ANYTHING,
        "fixed": st.just("fixed.nrrd") | FILE,
        "moving": st.just("moving.nii.gz") | FILE,
        "moving_segmentation": FILE,
        "fixed_segmentation": FILE,
        "initial_transform": FILE,
        "config": st.dictionaries(SETTING, VALUE, max_size=3) | ANYTHING,
        "preview": st.booleans() | ANYTHING,
        "surprise": ANYTHING,
    },
)
WHOLE = {"schema": 1, "task": "register", "fixed": "fixed.nrrd", "moving": "moving.nii.gz"}


def run_job(folder: Path, content: bytes) -> None:
    before = contents(folder)
    (folder / "job.json").write_bytes(content)
    before[folder / "job.json"] = content
    with contextlib.suppress(MirrbaError):
        job.run(job.read_job(folder), folder / "output", lambda event: None, lambda: False)
    assert_only_within(folder / "output", before, folder)


@examples(JOBS)
@given(changes=JOB, whole=st.booleans())
def test_any_job_is_run_or_refused(place, changes, whole):
    run_job(place, json.dumps({**(WHOLE if whole else {}), **changes}).encode())


@examples(JOB_TEXTS)
@given(text=st.binary() | st.text().map(lambda text: text.encode("utf-8", "replace")), at=st.integers(0, 100))
def test_a_job_file_of_any_bytes_is_refused(place, text, at):
    good = json.dumps(WHOLE).encode()
    run_job(place, good[:at] + text + good[at:] if len(text) % 2 else text)


# Command lines

COMMAND = ["register", "propagate", "evaluate", "phantom", "experiment", "benchmark", "presets", "devices"]
OPTIONS = [
    "-o", "--output", "--moving-seg", "--fixed-seg", "--warped-seg", "--preset", "--device", "--spacing",
    "--iterations", "--init", "--seed", "--set", "--quiet", "--json", "--fixed", "--moving", "--transform",
    "--landmarks", "--truth", "--pairs", "--centres", "--methods", "--workers", "--threads", "--timeout", "--quick",
    "--report-only", "--help", "--", "-",
]  # fmt: skip
VALUES = [
    "out", "out/deep", "fixed.nrrd/out", "/proc/nowhere", "cpu", "fast", "default", "4", "0", "-1", "1e99", "nan", "",
    "start=1", "start", "=", "init=t.h5", "init=none", "spacing=24", "none", "1,1", "t.tfm", "t.mat", "plain.nii", "..",
]  # fmt: skip
WORDS = st.sampled_from([*OPTIONS, *VALUES, *FILES[:-1]]) | st.text(st.characters(exclude_characters="\0/"), max_size=9)
GOOD = {
    "register": ["fixed.nrrd", "moving.nii.gz", "-o", "out"],
    "propagate": ["moving.nii.gz", "fixed.nrrd", "--moving-seg", "s.seg.nrrd", "-o", "out"],
    "evaluate": ["--fixed-seg", "s.seg.nrrd", "--warped-seg", "labels.nii.gz"],
    "phantom": ["-o", "out"],
    "experiment": ["-o", "out"],
    "benchmark": ["-o", "out"],
}


def output_of(arguments: list[str], folder: Path) -> Path | None:
    """Where the arguments allow results; the last one counts."""
    places = [value for option, value in itertools.pairwise(arguments) if option in ("-o", "--output")]
    return (folder / places[-1]) if places else None


@examples(COMMANDS)
@given(command=st.sampled_from(COMMAND), good=st.booleans(), words=st.lists(WORDS, max_size=6))
def test_any_command_line_ends_with_one_sentence(place, command, good, words):
    arguments = [command, *(GOOD.get(command, []) if good else []), *words]
    before = contents(place)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = cli.main(arguments)
        except SystemExit as end:
            code = end.code
    assert code in (0, 2, 3), (arguments, said.getvalue())
    assert "Traceback" not in said.getvalue()
    assert code == 0 or said.getvalue().startswith(("mirrba", "Warning"))
    assert_only_within(output_of(arguments, place), before, place)


# Files

READERS = {
    "plain.nii": "read_volume",
    "moving.nii.gz": "read_volume",
    "fixed.nrrd": "read_volume",
    "plain.mha": "read_volume",
    "packed.mha": "read_volume",
    "s.seg.nrrd": "read_segmentation",
    "labels.nii.gz": "read_segmentation",
    "t.tfm": "read_transform",
    "t.mat": "read_transform",
    "t.h5": "read_transform",
    "points.csv": "read_landmarks",
}


@pytest.fixture(scope="module")
def reading():
    process = Reading()
    yield process
    process.close()


PATCHES = st.lists(
    st.tuples(
        st.integers(0, 400) | st.integers(0, 20_000),
        st.sampled_from([b"", b"\0", b"-", b"9999999", b"nan", b"\n", b"1e99", b"\xff\xff\xff\x7f"])
        | st.binary(max_size=4),
        st.integers(0, 8),
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(place, reading, tmp_path, name):
    whole = (place / name).read_bytes()
    damaged = tmp_path / name

    @examples(DAMAGED)
    @given(patches=PATCHES, cut=st.none() | st.integers(0, 20_000))
    def check(patches, cut):
        content = bytearray(whole)
        for at, new, removed in patches:
            content[at % len(content) : at % len(content) + removed] = new
            content = content or bytearray(b"x")
        damaged.write_bytes(bytes(content[:cut]))
        assert str(damaged) in (reading.refusal(READERS[name], damaged) or str(damaged))

    check()


def test_a_reader_that_crashes_its_process_fails_a_test_and_the_next_file_is_read(place, reading):
    assert reading.refusal("read_volume", place / "plain.nii") is None
    reading._process.kill()
    with pytest.raises(AssertionError, match="ended the process"):
        reading.refusal("read_volume", place / "plain.nii")
    assert reading.refusal("read_volume", place / "plain.nii") is None
