"""Rigid, affine and B-spline registration by itk-elastix, as section 4.3 describes it. Leaves its parameter files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ...geometry import Geometry
from ..task import Registered, Task
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
    transformix = itk.TransformixFilter.New(
        Input=images[1], TransformParameterObject=elastix.GetTransformParameterObject()
    )
    transformix.SetComputeDeformationField(True)
    transformix.SetOutputDirectory(str(workdir))  # it writes the field, too: else where it was started
    transformix.Update()
    field = itk.array_from_image(transformix.GetOutputDeformationField())
    displacement = Geometry.from_image(fixed).image(np.asarray(field, np.float32), is_vector=True)
    return Registered(displacement, seconds, {"intensities": how, **maps})


def parameter_maps(task: Task) -> dict[str, dict[str, list[str]]]:
    """elastix's parameters of each step."""
    import itk

    config = task.method.config
    resolutions, last = int(config["resolutions"]), int(config["stop_after"])
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
    # The first levels of the same pyramid: the supplement's "Elastix Level 1…4".
    maps["bspline"] |= {
        "Registration": ["MultiMetricMultiResolutionRegistration"],
        "Metric": ["AdvancedNormalizedCorrelation", "TransformBendingEnergyPenalty"],
        "Metric0Weight": ["1"],
        "Metric1Weight": [str(config["bending_energy"])],
        "NumberOfResolutions": [str(last)],
        "ImagePyramidSchedule": maps["bspline"]["ImagePyramidSchedule"][: 3 * last],
        "FinalGridSpacingInPhysicalUnits": [str(config["grid_mm"])],
        "GridSpacingSchedule": [str(factor) for factor in factors[:last]],
    }
    return maps


def as_itk(image: sitk.Image) -> Any:
    import itk

    converted = itk.image_from_array(sitk.GetArrayFromImage(image))
    converted.SetSpacing(image.GetSpacing())
    converted.SetOrigin(image.GetOrigin())
    converted.SetDirection(itk.matrix_from_array(np.array(image.GetDirection()).reshape(3, 3)))
    return converted
