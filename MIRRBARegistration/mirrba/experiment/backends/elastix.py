"""Rigid, affine and B-spline registration by itk-elastix, as section 4.3 describes it.

Leaves its parameter files, and the fields after each resolution of the B-spline but the last: level-1.nrrd, …
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ...geometry import Geometry
from ..displacement import write_field
from ..task import LEVEL_FILE, Registered, Task
from .intensities import prepared

FINEST_FIRST = (1, 2, 4, 8, 16, 32)
"""Smoothing of the pyramid, and size of the grid of control points, per resolution."""


def register(fixed: sitk.Image, moving: sitk.Image, workdir: Path, task: Task) -> Registered:
    import itk

    how = task.method.config["intensities"]
    images = [as_itk(prepared(image, how)) for image in (fixed, moving)]
    maps = parameter_maps(task)
    parameters = itk.ParameterObject.New()
    for values in maps.values():
        parameters.AddParameterMap(values)
    elastix = itk.ElastixRegistrationMethod.New(*images)
    elastix.SetParameterObject(parameters)
    elastix.SetOutputDirectory(str(workdir))
    elastix.SetLogToConsole(False)
    elastix.SetLogToFile(True)
    # SetNumberOfThreads crashes on a B-spline: run_method's environment limits the threads.
    started = time.monotonic()
    elastix.UpdateLargestPossibleRegion()
    seconds = time.monotonic() - started
    grid = Geometry.from_image(fixed)
    for level in range(1, int(task.method.config["resolutions"])):
        steps = ["0", "1", f"2.R{level - 1}"]
        found = itk.ParameterObject.New()
        found.ReadParameterFiles([str(workdir / f"TransformParameters.{step}.txt") for step in steps])
        write_field(_field(images[1], found, workdir, grid), workdir / LEVEL_FILE.format(level))
    displacement = _field(images[1], elastix.GetTransformParameterObject(), workdir, grid)
    return Registered(displacement, seconds, {"intensities": how, **maps})


def _field(moving: Any, found: Any, workdir: Path, grid: Geometry) -> sitk.Image:
    import itk

    transformix = itk.TransformixFilter.New(Input=moving, TransformParameterObject=found)
    transformix.SetComputeDeformationField(True)
    transformix.SetOutputDirectory(str(workdir))  # it writes the field, too: else where it was started
    transformix.Update()
    field = itk.array_from_image(transformix.GetOutputDeformationField())
    return grid.image(np.asarray(field, np.float32), is_vector=True)


def parameter_maps(task: Task) -> dict[str, dict[str, list[str]]]:
    """elastix's parameters of each step."""
    import itk

    config = task.method.config
    resolutions = int(config["resolutions"])
    factors = FINEST_FIRST[:resolutions][::-1]
    maps = {}
    for step in ("rigid", "affine", "bspline"):
        defaults = itk.ParameterObject.New().GetDefaultParameterMap(step, resolutions)
        values = {key: list(value) for key, value in dict(defaults).items()}
        values |= {
            "Metric": ["AdvancedNormalizedCorrelation"],
            "MaximumNumberOfIterations": [str(config["iterations"])],
            "NumberOfSpatialSamples": [str(config["samples"])],
            "RandomSeed": [str(task.settings.seed + 1)],  # 0 would leave the seed to elastix
            "ImagePyramidSchedule": [str(factor) for factor in factors for _ in range(3)],
            "WriteResultImage": ["false"],
        }
        maps[step] = values
    maps["rigid"] |= {
        "AutomaticTransformInitialization": ["true"],
        "AutomaticTransformInitializationMethod": ["CenterOfGravity"],
    }
    maps["bspline"] |= {
        "Registration": ["MultiMetricMultiResolutionRegistration"],
        "Metric": ["AdvancedNormalizedCorrelation", "TransformBendingEnergyPenalty"],
        "Metric0Weight": ["1"],
        "Metric1Weight": [str(config["bending_energy"])],
        "FinalGridSpacingInPhysicalUnits": [str(config["grid_mm"])],
        "GridSpacingSchedule": [str(factor) for factor in factors],
        "WriteTransformParametersEachResolution": ["true"],
    }
    return maps


def as_itk(image: sitk.Image) -> Any:
    import itk

    converted = itk.image_from_array(sitk.GetArrayFromImage(image))
    converted.SetSpacing(image.GetSpacing())
    converted.SetOrigin(image.GetOrigin())
    converted.SetDirection(itk.matrix_from_array(np.array(image.GetDirection()).reshape(3, 3)))
    return converted
