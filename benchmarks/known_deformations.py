"""How well known maps are recovered: benchmarks/known_deformations.py [--preset default] [--spacing 6] [--seed 0]

A known affine of the follow-up, the pair's own true field, the swapped pair, and forward then inverse.
"""

from __future__ import annotations

import argparse

import numpy as np
import SimpleITK as sitk
from mirrba import metrics, register
from mirrba.geometry import Geometry
from mirrba.phantom import make_pair
from mirrba.presets import resolve

STILL = sitk.Transform(3, sitk.sitkIdentity)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="default")
    parser.add_argument("--spacing", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    config = resolve(options.preset)
    pair = make_pair(options.spacing, options.seed)
    fixed, moving = (image_of(scan) for scan in (pair.fixed, pair.moving))
    known_affine(fixed, config)
    forward, backward = register(fixed, moving, config), register(moving, fixed, config)
    points = np.array([forward.fixed.point(index[::-1]) for index in np.argwhere(forward.body)[::400].tolist()])
    truth = pair.true_transform(points)
    tell("true field, before", distances(points, truth))
    tell("true field, after", distances(mapped(forward.transform, points), truth))
    tell("swapped pair undoes it", distances(mapped(backward.transform, mapped(forward.transform, points)), points))
    tell("inverse undoes it", distances(mapped(forward.inverse(), mapped(forward.transform, points)), points))


def known_affine(fixed: sitk.Image, config) -> None:
    grid = Geometry.from_image(fixed)
    affine = sitk.AffineTransform(3)
    affine.SetCenter(grid.point([n / 2 for n in grid.size]))
    affine.Rotate(0, 1, 0.08)
    affine.Scale((1.04, 0.97, 1.02))
    affine.SetTranslation((15.0, -8.0, 20.0))
    moving = sitk.Resample(fixed, fixed, affine.GetInverse())
    result = register(fixed, moving, config)
    scanned = sitk.GetArrayFromImage(grid.resample(moving * 0 + 1, affine)) > 0.99
    for name, transform in (("before", STILL), ("after", result.transform)):
        error = metrics.transform_error_mm(transform, affine, result.body & scanned, grid)
        print(f"{'known affine, ' + name:24} mean {error:6.2f} mm")


def image_of(scan) -> sitk.Image:
    image = sitk.GetImageFromArray(scan.image)
    image.SetSpacing([scan.grid.spacing] * 3)
    image.SetOrigin(scan.grid.origin)
    return image


def mapped(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return np.array([transform.TransformPoint(point) for point in points.tolist()])


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=1)


def tell(name: str, mm: np.ndarray) -> None:
    print(f"{name:24} mean {mm.mean():6.2f}, 95 % {np.percentile(mm, 95):6.2f}, max {mm.max():6.2f} mm")


if __name__ == "__main__":
    main()
