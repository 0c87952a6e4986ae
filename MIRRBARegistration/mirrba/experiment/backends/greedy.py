"""Rigid, affine and compositive deformation by picsl-greedy. Leaves affine.mat and warp.nii.gz in its folder."""

from __future__ import annotations

import time
from pathlib import Path

import SimpleITK as sitk

from ..task import Registered, Task
from .intensities import prepared

AFFINE, WARP = "affine.mat", "warp.nii.gz"


def register(fixed: sitk.Image, moving: sitk.Image, workdir: Path, task: Task) -> Registered:
    from picsl_greedy import Greedy3D

    config = task.method.config
    volumes = {
        "fixed": prepared(fixed, config["intensities"]),
        "moving": prepared(moving, config["intensities"]),
    }
    calls = _calls(workdir, task)
    greedy = Greedy3D()
    started = time.monotonic()
    for number, call in enumerate(calls.values()):
        greedy.execute(call, **(volumes if number == 0 else {}))
    seconds = time.monotonic() - started
    warp, affine = workdir / WARP, workdir / AFFINE
    # Its own composition of both steps, not rounded (-wp 0).
    sampling = f"-threads {task.settings.threads} -rf fixed -wp 0 -rc composed -r {warp} {affine}"
    greedy.execute(sampling, composed=None)
    shown = {step: call.replace(f"{workdir}/", "") for step, call in calls.items()}
    return Registered(greedy["composed"], seconds, {"intensities": config["intensities"], **shown})


def _calls(workdir: Path, task: Task) -> dict[str, str]:
    """The command line of each step."""
    config = task.method.config
    # -wp 0: greedy would round a warp to a tenth of a voxel in its file.
    common = f"-threads {task.settings.threads} -i fixed moving -m {config['metric']}"
    linear = f"{common} -a -n {config['linear_iterations']}"
    rigid, affine, warp = (workdir / name for name in ("rigid.mat", AFFINE, WARP))
    return {
        "rigid": f"{linear} -ia-image-centers -dof 6 -o {rigid}",
        "affine": f"{linear} -ia {rigid} -dof 12 -o {affine}",
        "deformable": f"{common} -it {affine} -n {config['iterations']} -s {config['smoothing']} -wp 0 -o {warp}",
    }
