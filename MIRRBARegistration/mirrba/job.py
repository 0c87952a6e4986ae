"""One registration from files to files: what the command line and the child process both run.

`docs/architecture.md` has the job folder's contract. Results are written aside and moved into place when all of them
exist, result.json last: no result.json, no result.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import __version__
from .errors import InputError, MirrbaError, is_out_of_memory
from .one_writer import alone_in
from .paths import check_name
from .presets import INITIALISATIONS, Config, resolve
from .quiet import quiet_itk
from .writing import whole, write_json

if TYPE_CHECKING:
    import SimpleITK as sitk

    from .finished import FinishedStages
    from .progress import Event
    from .registration import Registration
    from .segments import Segmentation

SCHEMA = 1
JOB_FILE = "job.json"
RESULT_FILE = "result.json"
OUTPUT = "output"
FINISH = "writing results"
PARTIAL = ".partial-"
UNFINISHED = ".unfinished"
CHUNK = 2**16  # bytes
OUTPUTS = (
    "transform.h5",
    "inverse_transform.h5",
    "warped.nii.gz",
    "warped_segmentation.seg.nrrd",
    "jacobian.nii.gz",
    "overlay.png",
    "metrics.json",
    RESULT_FILE,
)

Tell = Callable[[dict[str, Any]], None]
Asked = Callable[[], bool]


@dataclass(frozen=True)
class Job:
    fixed: Path
    moving: Path
    moving_segmentation: Path | None
    fixed_segmentation: Path | None
    config: Config
    previews: Path | None = None
    """The folder that previews are written to; None for no previews."""
    keeps_stages: bool = False
    """Finished stages are kept in the output's folder UNFINISHED until the run is done, for `resume`."""
    resume: bool = False
    """Go on after the last stage that an interrupted run has finished."""


_FILES = ("fixed", "moving", "moving_segmentation", "fixed_segmentation", "initial_transform")
_KEYS = {"schema", "task", "config", "preview", *_FILES}


def read_job(folder: Path) -> Job:
    """The job in a folder. Raises InputError for anything that is not a job of this schema."""
    path = folder / JOB_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no job here; give a folder with a {JOB_FILE}.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error}); write the job again.") from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(f"{path}: is not a job of schema {SCHEMA}; write it with this version of MIRRBA.")
    unknown = sorted(set(content) - _KEYS)
    if unknown or content.get("task") != "register":
        what = f"the unknown key '{unknown[0]}'" if unknown else f"the unknown task {content.get('task')!r}"
        raise InputError(f"{path}: has {what}; write it with this version of MIRRBA.")
    files = {name: _inside(folder, name, content.get(name)) for name in _FILES}
    if files["fixed"] is None or files["moving"] is None:
        raise InputError(f"{path}: names no fixed or no moving volume; give both.")
    settings = content.get("config", {})
    if not isinstance(settings, dict):
        raise InputError(f"{path}: has a config that is not a table of settings; write the job again.")
    config = resolve(**settings)
    if files["initial_transform"] is not None:
        config = replace(config, init=str(files["initial_transform"]))
    if not isinstance(content.get("preview", False), bool):
        raise InputError(f"{path}: has a 'preview' that is neither true nor false; write the job again.")
    return Job(
        files["fixed"],
        files["moving"],
        files["moving_segmentation"],
        files["fixed_segmentation"],
        config,
        folder if content.get("preview") else None,
    )


def _inside(folder: Path, name: str, value: object) -> Path | None:
    """A file of the job folder; a name that leads out of it is refused."""
    if value is None:
        return None
    if not isinstance(value, str) or value in ("", ".", "..") or Path(value).name != value or "\\" in value:
        raise InputError(f"{folder / JOB_FILE}: '{name}' must be the plain name of a file in the job folder.")
    return folder / value


def run(job: Job, output: Path, tell: Tell, should_stop: Asked, should_keep: Asked = lambda: False) -> dict[str, Any]:
    """Register, write everything into `output`, return the metrics.

    `tell` gets the progress, warning and preview events; the other two are as in `register`.
    """
    with output_folder(output):
        keep_inputs(job, output)
        with alone_in(output):
            _sweep(output)
            return _run(job, output, tell, should_stop, should_keep)


@quiet_itk()
def _run(job: Job, output: Path, tell: Tell, should_stop: Asked, should_keep: Asked) -> dict[str, Any]:
    from . import registration
    from .images import read_volume
    from .segments import read_segmentation

    with _warnings_told(tell):
        fixed, moving = read_volume(job.fixed), read_volume(job.moving)
        segmentations = [
            None if path is None else read_segmentation(path)
            for path in (job.moving_segmentation, job.fixed_segmentation)
        ]
        for segmentation, image, name in zip(segmentations, (moving, fixed), ("moving", "fixed"), strict=True):
            _check_overlap(segmentation, image, name)
        sums = _inputs_sha256(job)  # now: the files may be others when the results are written
        finished = _finished_stages(job, output, sums)
        last: dict[str, Any] = {}

        def on_progress(event: Event) -> None:
            last.update(event.as_dict())
            tell({"event": "progress", **event.as_dict()})

        on_preview = None if job.previews is None else Previews(job.previews, tell, last).write
        result = registration.register(
            fixed, moving, job.config, on_progress, should_stop, on_preview, should_keep, finished
        )
        writing = {"stage": FINISH, "iteration": 0, "loss": None, "terms": {}, "fraction": 1.0, "remaining": None}
        tell({"event": "progress", **last, **writing})
        scores = _write(job, sums, result, fixed, moving, segmentations[0], segmentations[1], output)
        finished.forget()
        return scores


def _finished_stages(job: Job, output: Path, sums: dict[str, str]) -> FinishedStages:
    from .finished import FinishedStages

    if not job.keeps_stages:
        return FinishedStages()
    return FinishedStages(output / UNFINISHED, _stages_key(job, sums), job.resume)


def _stages_key(job: Job, sums: dict[str, str]) -> str:
    """What stands for the volumes and settings of which finished stages are the result."""
    registered = {name: sums[name] for name in ("fixed", "moving", "initial_transform") if name in sums}
    settings = {**asdict(job.config), "init": sums.get("initial_transform", job.config.init)}
    return hashlib.sha256(json.dumps([__version__, registered, settings], sort_keys=True).encode()).hexdigest()


def can_be_resumed(job: Job, output: Path) -> bool:
    """Whether `output` holds finished stages of this job; it may hold those of another."""
    folder = output / UNFINISHED
    if not folder.exists():
        return False
    from .finished import read_key

    try:
        return read_key(folder) == _stages_key(job, _inputs_sha256(job))
    except OSError:  # its volumes are gone
        return False


def _sweep(output: Path) -> None:
    """Remove what a run that was killed while it wrote has left behind: nobody else is in the folder."""
    for staging in output.glob(f"{PARTIAL}*"):
        shutil.rmtree(staging, ignore_errors=True)


class Previews:
    """Preview files, each written whole and announced; the newest two stay, so that a reader has time for one.

    `progress`: the latest progress event, which says where the run is.
    """

    def __init__(self, folder: Path, tell: Tell, progress: dict[str, Any]) -> None:
        self._folder, self._tell, self._progress = folder, tell, progress
        self._count = 0
        self._warned = False

    def write(self, image: sitk.Image) -> None:
        """A preview is never worth a run: one that cannot be written is left out, with a warning the first time."""
        import SimpleITK as sitk

        name = f"preview-{self._count + 1}.nrrd"
        try:
            with whole(self._folder / name) as aside:
                sitk.WriteImage(image, str(aside), useCompression=False)
        except (OSError, RuntimeError):  # the latter is ITK's
            self._warn()
            return
        self._count += 1
        self._tell({"event": "preview", "file": name, **{key: self._progress[key] for key in ("stage", "level")}})
        with suppress(OSError):  # there are no such files at first
            (self._folder / f"preview-{self._count - 2}.nrrd").unlink()

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            message = "A preview could not be written to the job folder (is the disk full?); the registration goes on."
            self._tell({"event": "warning", "message": message})


@contextmanager
def output_folder(output: Path) -> Iterator[None]:
    """A folder for results. Those that are made for them, it and any that it lies in, are gone again where nothing
    comes of it; raises InputError.
    """
    # not Path.exists, which raises for a name that is too long
    made = [folder for folder in (output, *output.parents) if not os.path.exists(folder)]
    try:
        prepare_output(output)
        yield
    except BaseException:
        with suppress(OSError):  # there is something in it that is of use: stages, or a study's results
            for folder in made:
                folder.rmdir()
        raise


def prepare_output(output: Path) -> None:
    """Make sure results can be written there before hours are spent on them."""
    check_name(output.absolute())
    if os.path.exists(output) and not output.is_dir():
        raise InputError(f"{output}: is a file, but a folder is needed for the results; choose another name.")
    try:
        output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=output).close()
    except OSError as error:
        raise InputError(f"{output}: cannot be written to ({error.strerror}); choose another folder.") from None
    for name in OUTPUTS:
        if (output / name).is_dir():
            raise InputError(f"{output / name}: is a folder where a result would be written; move it away.")


def keep_inputs(job: Job, output: Path) -> None:
    """Raises InputError where a result in `output` would take the place of one of the job's files."""
    results = {output.resolve() / name for name in OUTPUTS}
    for path in (job.fixed, job.moving, job.moving_segmentation, job.fixed_segmentation, Path(job.config.init)):
        # A link stands in a result's place as well as the file that it leads to.
        if path is not None and results & {path.resolve(), path.parent.resolve() / path.name}:
            raise InputError(f"{path}: would be overwritten by a result of that name; choose another output folder.")


@contextmanager
def _warnings_told(tell: Tell) -> Any:
    """The engine's log warnings as warning events."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            tell({"event": "warning", "message": record.getMessage()})

    handler = Handler(logging.WARNING)
    logger = logging.getLogger("mirrba")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _check_overlap(segmentation: Segmentation | None, image: sitk.Image, name: str) -> None:
    from .geometry import Geometry

    if segmentation is None:
        return
    laid = segmentation.onto(Geometry.from_image(image))
    if not laid.boxes():
        raise InputError(
            f"The {name} segmentation lies outside of the {name} volume; give the segmentation drawn on that volume."
        )


def _write(
    job: Job,
    sums: dict[str, str],
    result: Registration,
    fixed: sitk.Image,
    moving: sitk.Image,
    moving_segmentation: Segmentation | None,
    fixed_segmentation: Segmentation | None,
    output: Path,
) -> dict[str, Any]:

    from . import metrics, overlay

    with _staging_in(output) as staging:
        warped = result.warp(moving)
        jacobian = result.jacobian()
        _write_transform(result.transform, staging / "transform.h5")
        _write_transform(result.inverse(), staging / "inverse_transform.h5")
        _write_nifti(warped, staging / "warped.nii.gz")
        _write_nifti(result.fixed.image(jacobian), staging / "jacobian.nii.gz")
        overlay.write_picture(
            overlay.overlay(fixed, result.fixed.resample(moving), warped), str(staging / "overlay.png")
        )
        segments = None
        if moving_segmentation is not None:
            segments = moving_segmentation.warp(result.transform, result.fixed)
            segments.write(staging / "warped_segmentation.seg.nrrd")
        if fixed_segmentation is not None:  # it may have been drawn on the CT
            fixed_segmentation = fixed_segmentation.onto(result.fixed)
        scores = metrics.evaluate(
            fixed_segmentation,
            segments,
            moving_segmentation,
            fixed_image=fixed,
            moving_image=moving,
            inverse=result.inverse(),
            jacobian=jacobian,
            body=result.body,
        )
        scores["seconds"] = result.provenance["seconds"]
        scores["peak_memory_mb"] = result.provenance["peak_memory_mb"]
        write_json(staging / "metrics.json", scores)
        write_json(staging / RESULT_FILE, _provenance(job, sums, result, staging))
        _publish(staging, output)
    return scores


@contextmanager
def _staging_in(output: Path) -> Iterator[Path]:
    """A folder for the files until all are there; it goes in any case. Raises MirrbaError where a file cannot be
    written.
    """
    staging = None
    try:
        output.mkdir(exist_ok=True)  # it may have been removed meanwhile; not where the job folder itself is gone
        staging = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=output))
        yield staging
    except (OSError, RuntimeError) as error:  # the latter is ITK's
        reason = error.strerror if isinstance(error, OSError) else "is the disk full?"
        if is_out_of_memory(error) or (isinstance(error, RuntimeError) and "Writ" not in str(error)):
            raise
        raise MirrbaError(
            f"{output}: the results could not be written ({reason}); make room there, or choose another folder."
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _write_transform(transform: sitk.Transform, path: Path) -> None:
    """HDF5 makes the process crash at its end after a full disk, so room is tried for first. Errors: OSError."""
    from .transforms import parts, write_transform

    # A composite counts the parameters of one of its parts only.
    numbers = sum(part.GetNumberOfParameters() + part.GetNumberOfFixedParameters() for part in parts(transform))
    with path.open("wb") as file:
        for _ in range(8 * numbers // CHUNK + 2):
            file.write(bytes(CHUNK))
    path.unlink()
    write_transform(transform, path)


def _write_nifti(image: sitk.Image, path: Path) -> None:
    """ITK's NIfTI writer says nothing of a full disk, so the file is read again. Errors: OSError."""
    import SimpleITK as sitk

    from .nifti import check_nifti

    sitk.WriteImage(image, str(path), useCompression=True)
    try:
        check_nifti(path)
    except InputError:
        raise OSError(errno.ENOSPC, "is the disk full?") from None


def _provenance(job: Job, inputs: dict[str, str], result: Registration, staging: Path) -> dict[str, Any]:
    """Everything needed to repeat the run. Inputs by checksum, not by name: names may hold a patient's."""
    config = asdict(job.config)
    if "initial_transform" in inputs:
        config["init"] = "file"
    return {
        "schema": SCHEMA,
        "config": config,
        **result.provenance,
        "versions": versions(),
        "platform": platform.platform(),
        "inputs_sha256": inputs,
        "outputs_sha256": {path.name: _sha256(path) for path in sorted(staging.iterdir())},
        "history": result.history,
    }


def _inputs_sha256(job: Job) -> dict[str, str]:
    """By name; `initial_transform` where the run starts from a file."""
    names = ("fixed", "moving", "moving_segmentation", "fixed_segmentation")
    sums = {name: _sha256(path) for name in names if (path := getattr(job, name)) is not None}
    if job.config.init not in INITIALISATIONS and Path(job.config.init).is_file():
        sums["initial_transform"] = _sha256(Path(job.config.init))
    return sums


def versions() -> dict[str, str]:
    import numpy
    import SimpleITK
    import torch

    return {
        "mirrba": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "SimpleITK": SimpleITK.Version_VersionString(),
    }


def _publish(staging: Path, output: Path) -> None:
    """Move the finished files into place; an older result stops being one first."""
    for path in staging.iterdir():
        _to_disk(path)
    (output / RESULT_FILE).unlink(missing_ok=True)
    if not (staging / "warped_segmentation.seg.nrrd").exists():
        (output / "warped_segmentation.seg.nrrd").unlink(missing_ok=True)
    for path in sorted(staging.iterdir(), key=lambda path: path.name == RESULT_FILE):
        os.replace(path, output / path.name)


def _to_disk(path: Path) -> None:
    """So that a power cut leaves no result.json beside files that are not there."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
