"""The command line: `mirrba register | propagate | evaluate | phantom | experiment | benchmark | presets | devices`."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from . import __version__, resources
from . import job as jobs
from .bar import Bar
from .errors import Cancelled, InputError, MirrbaError, explained
from .presets import PRESETS, resolve
from .quiet import quiet_itk

EPILOG = """exit codes: 0 done, 2 bad input, 3 cancelled, 4 out of memory, 1 anything else

The results in OUT: transform.h5 (ITK, LPS, fixed to moving points), inverse_transform.h5, warped.nii.gz,
warped_segmentation.seg.nrrd, jacobian.nii.gz, overlay.png, metrics.json, result.json."""


class _Parser(argparse.ArgumentParser):
    """Bad usage is bad input: one sentence, exit code 2, as argparse does, without the usage lines before it."""

    def error(self, message: str) -> Any:
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    _open_closed_streams()
    _write_what_can_be_written()
    options = _parser().parse_args(arguments)
    resources.share_cores()
    resources.keep_memory()
    _end_as_by_ctrl_c()
    try:
        code = int(options.run(options) or 0)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _let_go_of_stdout()
        return MirrbaError.exit_code
    except BaseException as error:
        if isinstance(error, SystemExit):
            raise
        if options.debug:
            traceback.print_exc()
        known = explained(error)
        _tell_error(known, options)
        return known.exit_code


def _let_go_of_stdout() -> None:
    """What is still in its buffer goes nowhere, instead of to a reader that is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """A stream that the caller has closed is None, and its number would go to the next file that is opened."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _write_what_can_be_written() -> None:
    """A name that the terminal or a redirected stream has no characters for is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_as_by_ctrl_c() -> None:
    """A termination signal or a terminal that is closed leaves nothing half-written either."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        in_main_thread = threading.current_thread() is threading.main_thread()
        if number is not None and in_main_thread and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _tell_error(error: MirrbaError, options: argparse.Namespace, follow_up: str | None = None) -> None:
    """One sentence on stderr, an event with --json; `follow_up` says which of several it belongs to."""
    if getattr(options, "json", False):
        event = {"event": "error", "kind": error.kind, "message": str(error)}
        try:
            print(json.dumps(event if follow_up is None else {**event, "fixed": follow_up}), flush=True)
        except BrokenPipeError:
            _let_go_of_stdout()
    named = follow_up is None or follow_up in str(error)
    print(f"mirrba: {error}" if named else f"mirrba: {follow_up}: {error}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mirrba",
        description="Register a baseline PET (moving) onto a follow-up PET (fixed) of the same patient, without any "
        "training data (Fourcade et al. 2022).",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mirrba {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_Parser)
    _register_parser(commands)
    _propagate_parser(commands)
    _evaluate_parser(commands)
    _phantom_parser(commands)
    _experiment_parser(commands)
    _benchmark_parser(commands)
    for name, run, sentence in (
        ("presets", _presets, "list the presets with a sentence on each"),
        ("devices", _devices, "list the devices that can compute, best first"),
    ):
        listing = _command(commands, name, run, sentence)
        listing.add_argument("--json", action="store_true", help="as a JSON list, for programs")
    return parser


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int | None], sentence: str, **more: Any
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=sentence, description=sentence[0].upper() + sentence[1:] + ".", **more
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.set_defaults(run=run)
    return parser


def _register_parser(commands: Any) -> None:
    parser = _command(
        commands,
        "register",
        _register,
        "register one pair and write transform, warped PET, warped segments and scores",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("fixed", metavar="FIXED", type=Path, help="follow-up PET: .nii.gz, .nrrd, .mha, …")
    parser.add_argument("moving", metavar="MOVING", type=Path, help="baseline PET")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="folder for the results")
    parser.add_argument("--moving-seg", metavar="S", type=Path, help="segments drawn on MOVING: label map or .seg.nrrd")
    parser.add_argument("--fixed-seg", metavar="S", type=Path, help="segments drawn on FIXED, to score against")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on after the last level that an interrupted run with the same OUT, volumes and settings has finished",
    )
    _method_options(parser)


def _propagate_parser(commands: Any) -> None:
    parser = _command(
        commands, "propagate", _propagate, "bring one baseline's segmentation onto one or more follow-ups"
    )
    parser.add_argument("moving", metavar="MOVING", type=Path, help="baseline PET")
    parser.add_argument("fixed", metavar="FIXED", type=Path, nargs="+", help="follow-up PET, one or more")
    parser.add_argument("--moving-seg", metavar="S", type=Path, required=True, help="segments drawn on MOVING")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="a folder per follow-up in it")
    _method_options(parser)


def _method_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", metavar="P", default="default", help="see 'mirrba presets' (default: default)")
    parser.add_argument("--device", metavar="D", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--spacing", metavar="MM", help="working grid (default: what the device can finish)")
    parser.add_argument("--iterations", metavar="N,N,…", help="per level, coarsest first, such as 1000,1000,2000")
    parser.add_argument("--init", metavar="I", help="none, centre, rigid, affine or a transform file")
    parser.add_argument("--seed", metavar="N", help="random seed (default: 0)")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="any other setting, such as learning_rate=3e-4"
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="say nothing but errors")
    shown.add_argument("--json", action="store_true", help="progress and result as JSON Lines on standard output")


def _evaluate_parser(commands: Any) -> None:
    parser = _command(commands, "evaluate", _evaluate, "score a warped segmentation against the fixed one")
    parser.add_argument("--fixed-seg", metavar="S", type=Path, required=True, help="segments drawn on the follow-up")
    parser.add_argument("--warped-seg", metavar="S", type=Path, required=True, help="the baseline's segments, warped")
    parser.add_argument("--moving-seg", metavar="S", type=Path, help="the baseline's segments, for volumes and fates")
    parser.add_argument(
        "--fixed",
        metavar="PET",
        type=Path,
        help="the follow-up, for the uptake in --warped-seg, and where --transform is scored",
    )
    parser.add_argument("--moving", metavar="PET", type=Path, help="the baseline, for the uptake in --moving-seg")
    parser.add_argument(
        "--transform", metavar="T", type=Path, help="transform, for its Jacobian on --fixed's grid (else --fixed-seg's)"
    )
    error = parser.add_mutually_exclusive_group()
    error.add_argument("--landmarks", metavar="CSV", type=Path, help="for tre_mm: as 'mirrba phantom' writes them")
    error.add_argument(
        "--truth",
        metavar="T",
        type=Path,
        help="for tre_mm: the true transform, in --fixed's body (else --fixed-seg's grid)",
    )
    parser.add_argument("-o", "--output", metavar="JSON", type=Path, help="write the scores there as well")


def _phantom_parser(commands: Any) -> None:
    parser = _command(commands, "phantom", _phantom, "make whole-body FDG PET pairs with exactly known deformation")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="folder for the pair or pairs")
    parser.add_argument("--pairs", metavar="N", type=int, default=1, help="how many (default: 1)")
    parser.add_argument(
        "--centres", type=int, choices=(1, 2), default=2, help="scanners that several pairs alternate between"
    )
    parser.add_argument("--spacing", metavar="MM", type=float, default=6.0, help="voxel size (default: 6)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="random seed (default: 0)")


def _experiment_parser(commands: Any) -> None:
    parser = _command(
        commands, "experiment", _experiment, "run methods on a cohort of pairs and write the paper's tables and figures"
    )
    parser.add_argument("cohort", metavar="COHORT", type=Path, nargs="?", help="a folder per pair: docs/experiment.md")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="results; reused on a rerun")
    parser.add_argument("--methods", metavar="M,M,…", help="names as docs/experiment.md has them (default: all)")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a running Dask cluster (default: this machine)")
    parser.add_argument("--workers", metavar="N", type=int, help="methods at once (default: what the machine holds)")
    parser.add_argument("--threads", metavar="N", type=int, help="per method (default: 2, or fewer cores)")
    parser.add_argument("--device", metavar="D", default="auto", help="auto, cpu, cuda, … (default: auto)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--timeout", metavar="S", type=float, help="seconds that a method may take on a pair")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting of the networks of the paper, such as spacing=12",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few iterations of each; without COHORT on two small made pairs"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try again what has failed before")
    parser.add_argument("--report-only", action="store_true", help="run nothing, write the report of what is there")


def _benchmark_parser(commands: Any) -> None:
    parser = _command(
        commands, "benchmark", _benchmark, "compare accuracy, time and memory with every peer that is installed"
    )
    parser.add_argument("cohort", metavar="COHORT", type=Path, nargs="?", help="pairs (default: made ones)")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="results; reused on a rerun")
    parser.add_argument("--pet", metavar="PET", type=Path, help="a real PET to make pairs of, too")
    parser.add_argument("--pet-pairs", metavar="N", type=int, default=1, help="how many of it (default: 1)")
    parser.add_argument("--pairs", metavar="N", type=int, default=3, help="how many are made (default: 3)")
    parser.add_argument("--spacing", metavar="MM", type=float, default=6.0, help="their voxel size (default: 6)")
    parser.add_argument("--seed", metavar="N", type=int, default=500, help="of the first one (default: 500)")
    parser.add_argument("--methods", metavar="M,M,…", help="names as docs/experiment.md has them")
    parser.add_argument("--threads", metavar="N", type=int, help="for each run (default: every core)")
    parser.add_argument("--device", metavar="D", default="auto", help="auto, cpu, cuda, … (default: auto)")


def _register(options: argparse.Namespace) -> None:
    job = replace(_job(options, options.fixed), keeps_stages=True, resume=options.resume)
    try:
        _run_one(job, options.output, options)
    except (Cancelled, KeyboardInterrupt):
        if jobs.can_be_resumed(job, options.output):
            raise Cancelled(
                "The run was cancelled; the same command with --resume goes on after the last level that is finished."
            ) from None
        raise


def _propagate(options: argparse.Namespace) -> int:
    """One follow-up after the other; one that fails does not stop the others."""
    runs = [
        (_job(options, fixed), options.output / name)
        for fixed, name in zip(options.fixed, _folders(options.fixed), strict=True)
    ]
    for job, _ in runs:
        for _, folder in runs:
            jobs.keep_inputs(job, folder)
    failed = 0
    for job, folder in runs:
        if not options.quiet and not options.json:
            print(f"{job.fixed} → {folder}")
        try:
            _run_one(job, folder, options)
        except Exception as error:
            known = explained(error)
            if known.kind == "cancelled":
                raise
            _tell_error(known, options, str(job.fixed))
            failed = failed or known.exit_code
    return failed


def _folders(files: Sequence[Path]) -> list[str]:
    """A folder name per file: its name without ending, numbered where two would meet."""
    from .segments import unique

    stems = [re.sub(r"(\.nii|\.seg)?\.[A-Za-z]+$|\.(nii|nrrd|mha)\.gz$", "", file.name) for file in files]
    # `..` would lead out of the output folder
    return unique((stem if stem.strip(".") else "follow-up" for stem in stems), "{}-{}")


def _job(options: argparse.Namespace, fixed: Path) -> jobs.Job:
    changes: dict[str, Any] = {}
    for name in ("device", "spacing", "iterations", "init", "seed"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    config = resolve(options.preset, **_with_set(changes, options.set))
    return jobs.Job(fixed, options.moving, options.moving_seg, getattr(options, "fixed_seg", None), config)


def _with_set(changes: dict[str, Any], pairs: Sequence[str]) -> dict[str, Any]:
    """`changes` and what --set says. Raises InputError."""
    changes = dict(changes)
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise InputError(f"--set takes KEY=VALUE, not '{pair}'.")
        if name in changes:
            raise InputError(f"Setting '{name}' is given twice; give it once.")
        changes[name] = value
    return changes


def _run_one(job: jobs.Job, output: Path, options: argparse.Namespace) -> None:
    if options.json:
        metrics = jobs.run(job, output, lambda event: print(json.dumps(event), flush=True), lambda: False)
        print(json.dumps({"event": "done", "output": str(output), "metrics": metrics}), flush=True)
        return
    with Bar(sys.stderr, shown=not options.quiet) as bar:
        metrics = jobs.run(job, output, bar.tell, lambda: False)
    if not options.quiet:
        print(_summary(metrics))
        print(f"Results are in {output}")


def _summary(metrics: dict[str, Any]) -> str:
    """The scores that exist, one a line."""
    names = {
        "dice_organs": "Dice organs",
        "dice_lesions": "Dice lesions",
        "detection_rate": "Detection rate",
        "disappearing_rate": "Disappearing rate",
        "tre_mm": "TRE, mm",
        "sd_jacobian": "SD of det J, whole image",
        "sd_jacobian_body": "SD of det J, body",
        "folding_fraction": "Folding fraction",
        "seconds": "Seconds",
        "peak_memory_mb": "Peak memory, MiB",
    }
    lines = [f"  {label:26} {metrics[key]:10.3f}" for key, label in names.items() if metrics.get(key) is not None]
    return "\n".join(lines)


@quiet_itk()
def _evaluate(options: argparse.Namespace) -> None:
    import numpy as np
    import SimpleITK as sitk

    from . import metrics
    from .geometry import Geometry
    from .images import body_mask, read_volume
    from .segments import read_segmentation
    from .transforms import read_transform

    _keep_scored(options)
    fixed, warped = read_segmentation(options.fixed_seg), read_segmentation(options.warped_seg)
    moving = None if options.moving_seg is None else read_segmentation(options.moving_seg)
    images = [None if path is None else read_volume(path) for path in (options.fixed, options.moving)]
    transform = None if options.transform is None else read_transform(options.transform)
    grid, body = fixed.geometry, None
    if images[0] is not None:  # Slicer crops a segmentation to its segments
        grid, body = Geometry.from_image(images[0]), sitk.GetArrayFromImage(body_mask(images[0])) > 0
    jacobian = None if transform is None else metrics.jacobian_determinant(transform, grid)
    error = None
    if transform is None:
        if options.landmarks or options.truth:
            raise InputError("--landmarks and --truth need --transform; give it too.")
    elif options.landmarks is not None:
        error = metrics.landmark_error_mm(transform, metrics.read_landmarks(options.landmarks))
    elif options.truth is not None:
        where = np.ones(grid.shape, np.bool_) if body is None else body
        error = metrics.transform_error_mm(transform, read_transform(options.truth), where, grid)
    scores = metrics.evaluate(
        fixed, warped, moving, fixed_image=images[0], moving_image=images[1], jacobian=jacobian, body=body, tre_mm=error
    )
    text = json.dumps(scores, indent=2, ensure_ascii=False)
    if options.output is not None:
        try:
            options.output.write_text(text + "\n", encoding="utf-8")
        except OSError as problem:
            raise InputError(f"{options.output}: cannot be written ({problem.strerror}); give a file name.") from None
    print(text)


def _keep_scored(options: argparse.Namespace) -> None:
    """What is scored is not overwritten by the scores."""
    names = ("fixed_seg", "warped_seg", "moving_seg", "fixed", "moving", "transform", "landmarks", "truth")
    given = [getattr(options, name) for name in names]
    if options.output is not None and any(path and path.resolve() == options.output.resolve() for path in given):
        raise InputError(f"{options.output}: would be overwritten by the scores; choose another name for them.")


def _phantom(options: argparse.Namespace) -> None:
    from .phantom import check_asked, write_pairs
    from .phantom.scanner import SCANNERS

    check_asked(options.pairs, options.spacing, options.seed)
    jobs.prepare_output(options.output)
    scanners = SCANNERS[: options.centres]
    write_pairs(options.output, options.pairs, options.spacing, options.seed, lambda folder: print(folder), scanners)


def _experiment(options: argparse.Namespace) -> int:
    from .experiment.study import Study, run_study

    study = Study(
        options.cohort,
        options.output,
        _names(options.methods),
        scheduler=options.scheduler,
        workers=options.workers,
        threads=options.threads,
        device=options.device,
        seed=options.seed,
        timeout_s=options.timeout,
        changes=_with_set({}, options.set),
        quick=options.quick,
        retry_failed=options.retry_failed,
        report_only=options.report_only,
    )
    with jobs.output_folder(options.output), Bar(sys.stderr) as bar:
        failed = run_study(study, bar.tell)
    return _told(failed, options.output / "report.md")


def _benchmark(options: argparse.Namespace) -> int:
    from .experiment.benchmark import Benchmark, run_benchmark

    benchmark = Benchmark(
        options.output,
        options.cohort,
        options.pet,
        options.pet_pairs,
        options.pairs,
        options.spacing,
        options.seed,
        _names(options.methods),
        options.threads,
        options.device,
    )
    with jobs.output_folder(options.output), Bar(sys.stderr) as bar:
        failed = run_benchmark(benchmark, bar.tell)
    return _told(failed, options.output / "benchmark.md")


def _names(listed: str | None) -> list[str] | None:
    return None if listed is None else [name.strip() for name in listed.split(",") if name.strip()]


def _told(failed: Sequence[Any], report: Path) -> int:
    """The exit code, after what failed and where the report is."""
    for record in failed:
        print(f"{record.title} on {record.pair}: {record.message}", file=sys.stderr)
    print(f"The report is {report}")
    return MirrbaError.exit_code if failed else 0


def _presets(options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps([_described(name) for name in PRESETS], indent=2))
        return
    width = max(map(len, PRESETS))
    for name, preset in PRESETS.items():
        print(f"{name:{width}}  {preset.sentence}")


def _described(name: str) -> dict[str, Any]:
    settings = asdict(PRESETS[name].config)
    return {"name": settings.pop("preset"), "sentence": PRESETS[name].sentence, "settings": settings}


def _devices(options: argparse.Namespace) -> None:
    from . import devices

    if options.json:
        print(json.dumps([asdict(device) for device in devices.available()], indent=2))
        return
    for device in devices.available():
        memory = "" if device.total_mb is None else f"{device.free_mb} of {device.total_mb} MiB free"
        print(f"{device.name:8}  {device.label}  {memory}")


if __name__ == "__main__":
    sys.exit(main())
