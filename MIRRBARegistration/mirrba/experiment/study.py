"""`mirrba experiment`: a cohort, the methods and what they run on, from the command line to the report."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InputError, MirrbaError
from .cluster import Progress, cores, run_cohort, stored
from .cohort import Cohort, check_apart, read_cohort
from .methods import METHODS, Method, find, is_of_paper
from .store import Record, Store
from .task import Settings

# A look at everything that still takes minutes on two cores.
QUICK_PAIRS, QUICK_SPACING, QUICK_SEED = 2, 12.0, 3
QUICK_GRID = 20.0  # mm, of the networks
SLOW = {
    "syncc-full": "takes hours",
    "mirrba-def-conv": "takes too long for a quick look",
}
SLOW_BACKENDS = dict.fromkeys(("elastix", "elastix_level"), "takes too long for a quick look")

Tell = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Study:
    """What `mirrba experiment` was asked for."""

    cohort: Path | None
    """None: made pairs, for a quick look only."""
    out: Path
    methods: Sequence[str] | None = None
    """None: all, but SyNCC (full); in a quick look those that are quick and installed."""
    scheduler: str | None = None
    workers: int | None = None
    threads: int | None = None
    device: str = "auto"
    seed: int = 0
    timeout_s: float | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Settings laid over those of the paper's methods."""
    quick: bool = False
    retry_failed: bool = False
    report_only: bool = False


def run_study(study: Study, tell: Tell) -> list[Record]:
    """Run it, write OUT/report.md, and return what failed. `tell` gets progress and warning events, as `Bar` does."""
    check_packages()
    if study.cohort is not None:
        check_apart(study.cohort, study.out)
    # One thread each keeps all cores busy where imports take as long as the registration.
    usual = 1 if study.quick else min(2, cores())
    threads = usual if study.threads is None else study.threads
    settings = settings_of(threads, study.seed, study.device, study.timeout_s)
    methods, notes = _methods(study)
    methods = _changed(methods, study.changes)
    cohort = _cohort(study, tell)
    if study.methods is None and len(cohort.pairs) < 2:  # named, they are refused
        methods = [method for method in methods if not method.trained]
        notes.append("Left out, since there are no other pairs to learn from: the networks that are trained.")
    for note in notes:
        tell({"event": "warning", "message": note})
    store = Store(study.out / "results")
    if study.report_only:
        records = stored(cohort.pairs, methods, settings, store)
    else:
        store.sweep()
        records = run_cohort(
            cohort.pairs,
            methods,
            settings,
            store,
            study.scheduler,
            study.workers,
            retry_failed=study.retry_failed,
            tell=lambda progress: tell(_event(progress)),
        )
    from .report import write_report

    write_report(records, cohort.pairs, store, study.out, [_described(study), *notes])
    return [record for record in records if not record.done]


def check_packages() -> None:
    """Raises MirrbaError."""
    for package in ("distributed", "matplotlib"):
        if find_spec(package) is None:
            raise MirrbaError(f"The experiment needs {package}, which is not installed; pip install 'mirrba[cohort]'.")


def settings_of(threads: int, seed: int, device: str, timeout_s: float | None) -> Settings:
    """What the command line says. Raises InputError."""
    if seed < 0:
        raise InputError(f"--seed takes a whole number from 0, not {seed}.")
    if timeout_s is not None and not (math.isfinite(timeout_s) and timeout_s > 0):
        raise InputError(f"--timeout takes seconds above 0, not {timeout_s:g}.")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise InputError(f"--device takes auto, cpu, cuda, cuda:N or mps, not '{device}'.")
    if threads < 1:
        raise InputError(f"--threads takes a whole number from 1, not {threads}.")
    return Settings(threads, seed, device, timeout_s)


def _methods(study: Study) -> tuple[list[Method], list[str]]:
    """The methods, and a sentence for each that was left out unasked."""
    if study.methods is not None:
        chosen = list({method.name: method for method in map(find, study.methods)}.values())
        if not chosen:
            raise InputError("--methods names no method; give some, separated by commas.")
        return [_quick(method) for method in chosen] if study.quick else chosen, []
    if not study.quick:
        return [method for name, method in METHODS.items() if name != "syncc-full"], []
    reasons = {method.title: _left_out(method) for method in METHODS.values()}
    chosen = [_quick(method) for method in METHODS.values() if reasons[method.title] is None]
    grouped: dict[str, list[str]] = {}
    for title, reason in reasons.items():
        if reason is not None:
            grouped.setdefault(reason, []).append(title)
    return chosen, [f"Left out of the quick look, since each {why}: {', '.join(who)}." for why, who in grouped.items()]


def _changed(methods: Sequence[Method], changes: Mapping[str, Any]) -> list[Method]:
    """With --set laid over the paper's. Raises InputError."""
    for name, option in (("preset", "methods"), ("device", "device"), ("seed", "seed")):
        if name in changes:
            raise InputError(f"--set {name}=… is not for an experiment; use --{option}.")
    if changes and not any(map(is_of_paper, methods)):
        raise InputError("--set is for the paper's networks, of which --methods names none; name one, or leave it out.")
    return [method.changed(**changes) if is_of_paper(method) else method for method in methods]


def _left_out(method: Method) -> str | None:
    """Why a quick look does without it."""
    if method.name in SLOW:
        return SLOW[method.name]
    if method.backend in SLOW_BACKENDS:
        return SLOW_BACKENDS[method.backend]
    if any(one.missing() for one in (method, method.start) if one is not None):
        return "needs a package that is not installed"
    return None


def _quick(method: Method) -> Method:
    brief = method.in_brief()
    if brief.backend == "mirrba" and brief.config.get("spacing", math.inf) < QUICK_GRID:
        return brief.changed(spacing=QUICK_GRID)
    return brief


def _cohort(study: Study, tell: Tell) -> Cohort:
    if study.cohort is not None:
        return read_cohort(study.cohort)
    if not study.quick:
        raise InputError("COHORT is missing; give the folder of the pairs, or --quick for two small made ones.")
    folder = study.out / "cohort"
    if not (folder / "pairs.tsv").is_file():  # written last
        from ..phantom import write_pairs

        tell({"event": "warning", "message": f"Makes {QUICK_PAIRS} small pairs in {folder}; they show nothing but "
              "that all parts work."})  # fmt: skip
        write_pairs(folder, QUICK_PAIRS, QUICK_SPACING, QUICK_SEED)
    return read_cohort(folder)


def _described(study: Study) -> str:
    changes = ", ".join(f"{name}={value}" for name, value in study.changes.items())
    if study.quick:
        told = "A quick look: a few iterations of each method, which say nothing on how good it is."
        return f"{told} The paper's methods are with {changes}." if changes else told
    if changes:
        return f"Every method with its settings from docs/experiment.md, but the paper's methods with {changes}."
    return "Every method with its full settings (docs/experiment.md)."


def _event(progress: Progress) -> dict[str, Any]:
    """As `Bar` wants it."""
    record = progress.record
    took = f" ({record.info['seconds']:.1f} s)" if record.done else " failed"
    return {
        "event": "progress",
        "plan": f"{progress.total} registrations and trainings",
        "stage": f"{progress.done} of {progress.total}: {record.title} on {record.pair}{took}",
        "loss": None,
        "fraction": progress.fraction,
        "remaining": progress.remaining_s,
    }
