"""The table of methods, and each package's own field against that package's own resampling."""

import importlib.util
import json
import re
from dataclasses import asdict

import numpy as np
import pytest
import SimpleITK as sitk
from mirrba.errors import InputError, MirrbaError
from mirrba.experiment import methods
from mirrba.experiment.backends import identity
from mirrba.experiment.backends.intensities import prepared
from mirrba.experiment.displacement import as_transform, checked, write_field
from mirrba.experiment.methods import ALIASES, METHODS, Method, find
from mirrba.experiment.task import Registered, Settings, Task, read_task, write_task
from mirrba.geometry import Geometry
from mirrba.images import body_mean, normalise, read_volume
from mirrba.presets import PRESETS, resolve
from mirrba.transforms import displacement_field

QUICK = [method for method in METHODS.values() if method.quick is not None]


def needs(module: str):
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed: pip install 'mirrba[baselines]'")


@pytest.fixture(scope="module")
def volumes(pair_folder) -> tuple[sitk.Image, sitk.Image]:
    return read_volume(pair_folder / "fixed.nii.gz"), read_volume(pair_folder / "moving.nii.gz")


def task(name: str, pair_folder, **files) -> Task:
    brief = find(name).in_brief()
    return Task(brief, pair_folder / "fixed.nii.gz", pair_folder / "moving.nii.gz", Settings(threads=1), files)


def resampled(moving: sitk.Image, found: Registered, fixed: sitk.Image, interpolator=sitk.sitkLinear) -> np.ndarray:
    """The moving volume through the field as it is stored."""
    field = checked(found.displacement, fixed)
    return sitk.GetArrayFromImage(sitk.Resample(moving, fixed, as_transform(field), interpolator, 0.0))


def assert_registers(found: Registered, fixed: sitk.Image, moving: sitk.Image) -> None:
    """The field moves, and the right way: the volumes resemble each other more than before."""
    target = sitk.GetArrayFromImage(prepared(fixed, "normalised")).ravel()
    source = prepared(moving, "normalised")
    before = np.corrcoef(sitk.GetArrayFromImage(sitk.Resample(source, fixed)).ravel(), target)[0, 1]
    after = np.corrcoef(resampled(source, found, fixed).ravel(), target)[0, 1]
    assert 1 - after < 0.5 * (1 - before)
    assert found.seconds > 0
    json.dumps([dict(found.parameters), dict(found.more)])


# ----- the table


def test_every_method_of_the_paper_has_its_name():
    titles = {method.title for method in METHODS.values()}
    paper = (
        "Identity, MIRRBA, Elastix, SyN, SyNCC, Combined, MIRRBA wo Regu, MIRRBA wo Archi, MIRRBA Depth 1, "
        "MIRRBA Depth 2, MIRRBA Depth 4, MIRRBA Level 1, MIRRBA Level 2, MIRRBA Max, MIRRBA Up, MIRRBA Def Conv, "
        "MIRRBA wo RB, MIRRBA Depth 4 Max Up, DL LapIRN, DL VoxelMorph, "
        "Elastix Level 1, Elastix Level 2, Elastix Level 3"
    )
    assert set(paper.split(", ")) <= titles
    assert len(titles) == len(METHODS)
    assert set(PRESETS) <= set(METHODS)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) and name == method.name for name, method in METHODS.items())


def test_the_last_level_has_two_names():
    assert find("elastix-level-4") is find("elastix")
    assert find("mirrba-depth-3") is find("mirrba-level-3") is find("mirrba")
    assert not set(ALIASES) & set(METHODS)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_is_json_and_comes_back_the_same(method, tmp_path):
    assert Method.from_json(json.loads(json.dumps(asdict(method)))) == method
    given = Task(method, tmp_path / "f", tmp_path / "m", Settings(3, 4, "cpu", 5.0), {"start": tmp_path / "s"})
    write_task(given, tmp_path)
    assert read_task(tmp_path) == given


@pytest.mark.parametrize("method", QUICK, ids=lambda method: method.name)
def test_a_quick_form_changes_settings_only(method):
    brief = method.in_brief()
    assert (brief.name, brief.backend) == (method.name, method.backend)
    assert (brief != method) == (method.name != "identity")
    if method.start is not None:
        assert brief.start == method.start.in_brief()
    if method.backend == "mirrba":
        assert resolve(**brief.config).spacing >= 12.0


def test_a_setting_as_text_and_as_a_number_is_the_same_method():
    method = find("combined")
    assert method.changed(spacing="12", iterations="5,5,5,5") == method.changed(spacing=12.0, iterations=(5, 5, 5, 5))
    assert method.changed(spacing="12") != method
    assert method.changed() == method


def test_an_unknown_method_setting_or_quick_form_is_refused():
    with pytest.raises(InputError, match="no method 'sinn'"):
        find("sinn")
    with pytest.raises(InputError, match="no setting 'speed'"):
        find("greedy").changed(speed=2)
    with pytest.raises(InputError, match="no setting 'speed'"):
        find("mirrba").changed(speed=2)
    with pytest.raises(InputError, match="no quick form"):
        find("syncc-full").in_brief()


def test_a_missing_package_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setitem(methods.PACKAGES, "greedy", "no-such-package-of-this-name")
    assert find("greedy").version() is None
    assert find("greedy").missing() == (
        "Greedy needs no-such-package-of-this-name, which is not installed; pip install 'mirrba[baselines]'."
    )
    assert find("identity").missing() is None


# ----- what the methods see, and what is made of what they give


def test_baselines_see_what_mirrba_sees(volumes):
    image = volumes[0]
    values = sitk.GetArrayFromImage(image)
    normal = prepared(image, "normalised")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(normal), normalise(values, body_mean(values)))
    assert Geometry.from_image(normal) == Geometry.from_image(image)
    assert prepared(image, "suv") is image
    with pytest.raises(InputError, match="intensities"):
        prepared(image, "log")


def test_a_field_that_is_not_one_is_refused(volumes):
    fixed = volumes[0]
    grid = Geometry.from_image(fixed)
    zeros = np.zeros((*grid.shape, 3))
    assert checked(grid.image(zeros, is_vector=True), fixed).GetPixelID() == sitk.sitkVectorFloat32
    with pytest.raises(MirrbaError, match="voxels"):
        checked(grid.cropped([0, 0, 0], [5, 5, 5]).image(zeros[:5, :5, :5], is_vector=True), fixed)
    elsewhere = grid.image(zeros, is_vector=True)
    elsewhere.SetOrigin((1.0, 2.0, 3.0))
    with pytest.raises(MirrbaError, match="another origin"):
        checked(elsewhere, fixed)
    zeros[3, 3, 3, 1] = np.nan
    with pytest.raises(MirrbaError, match="not finite"):
        checked(grid.image(zeros, is_vector=True), fixed)


def test_identity_moves_nothing(volumes, pair_folder, tmp_path):
    found = identity.register(*volumes, tmp_path, task("identity", pair_folder))
    assert not sitk.GetArrayFromImage(checked(found.displacement, volumes[0])).any()


# ----- the packages' own fields


@needs("ants")
@pytest.mark.parametrize("name", ["syn", "syncc"])
def test_the_field_of_ants_warps_as_ants_does(name, volumes, pair_folder, tmp_path):
    import ants as package
    from mirrba.experiment.backends import ants

    fixed, moving = volumes
    found = ants.register(fixed, moving, tmp_path, task(name, pair_folder))
    files = [str(tmp_path / "ants_1Warp.nii.gz"), str(tmp_path / "ants_0GenericAffine.mat")]
    own = package.apply_transforms(ants.as_ants(fixed), ants.as_ants(moving), files, interpolator="linear").numpy().T
    assert np.abs(resampled(moving, found, fixed) - own).max() < 1e-4 * own.max()
    assert_registers(found, fixed, moving)
    assert found.parameters["random_seed"] == 1


@needs("ants")
def test_ants_sees_the_geometry_of_an_oblique_volume(volumes):
    from mirrba.experiment.backends import ants

    image = sitk.Image(volumes[0])
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.1, 0.2, 0.3)
    image.SetDirection(turn.GetMatrix())
    converted = ants.as_ants(image)
    assert converted.shape == image.GetSize()
    np.testing.assert_allclose(converted.direction.ravel(), image.GetDirection())
    assert converted[5, 7, 9] == image[5, 7, 9]


@needs("picsl_greedy")
def test_the_field_of_greedy_takes_points_where_greedy_does(volumes, pair_folder, tmp_path):
    """Greedy warps three volumes that hold the coordinates of their voxels."""
    from mirrba.experiment.backends import greedy
    from picsl_greedy import Greedy3D

    fixed, moving = volumes
    found = greedy.register(fixed, moving, tmp_path, task("greedy", pair_folder))
    grid, source = Geometry.from_image(fixed), Geometry.from_image(moving)
    there = centres(grid) + sitk.GetArrayFromImage(checked(found.displacement, fixed))
    indices = (there - np.array(source.origin)) @ np.linalg.inv(source.matrix).T
    # Half a voxel from the face greedy fades to the background.
    inside = ((indices > 0.5) & (indices < np.array(source.size) - 1.5)).all(axis=-1)
    assert inside.mean() > 0.8
    reslicer = Greedy3D()
    for axis in range(3):
        coordinate = source.image(np.ascontiguousarray(centres(source)[..., axis]).astype(np.float32))
        call = f"-threads 1 -rf f -ri LINEAR -rm c w -r {tmp_path / greedy.WARP} {tmp_path / greedy.AFFINE}"
        reslicer.execute(call, f=fixed, c=coordinate, w=None)
        assert np.abs(sitk.GetArrayFromImage(reslicer["w"]) - there[..., axis])[inside].max() < 0.01  # mm
    assert_registers(found, fixed, moving)


@needs("convexAdam")
def test_the_field_of_convexadam_warps_as_convexadam_does(volumes, pair_folder, tmp_path, monkeypatch):
    """Its own warp, on the array; the geometry is oblique, so that swapped axes would show."""
    from convexAdam import convex_adam_MIND
    from convexAdam.apply_convex import apply_convex
    from mirrba.experiment.backends import convexadam

    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.1, 0.2, 0.3)
    fixed, moving = (sitk.Image(volume) for volume in volumes)
    for volume in (fixed, moving):
        volume.SetDirection(turn.GetMatrix())
    given, found_voxels, original = [], [], convex_adam_MIND.convex_adam_pt

    def listening(*arrays, **options):
        given.extend(arrays)
        found_voxels.append(original(*arrays, **options))
        return found_voxels[0]

    monkeypatch.setattr(convex_adam_MIND, "convex_adam_pt", listening)
    found = convexadam.register(fixed, moving, tmp_path, task("convexadam", pair_folder))
    own = apply_convex(found_voxels[0], given[1])
    ours = resampled(Geometry.from_image(fixed).image(given[1]), found, fixed)
    inner = (slice(2, -2),) * 3  # at the faces each fades to the background in its own way
    assert np.abs(ours - own)[inner].mean() < 1e-3 * own.max()
    assert_registers(found, fixed, moving)


def centres(grid: Geometry) -> np.ndarray:
    """The voxel centres `[z, y, x, 3]`, mm."""
    indices = np.moveaxis(np.indices(grid.shape), 0, -1)[..., ::-1]
    return indices @ grid.matrix.T + np.array(grid.origin)


@needs("itk")
@pytest.mark.slow
def test_the_fields_of_elastix_warp_as_transformix_does(volumes, pair_folder, tmp_path, monkeypatch):
    """After the last resolution, and after the second."""
    import itk
    from mirrba.experiment.backends import elastix, elastix_level

    fixed, moving = volumes
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = elastix.register(fixed, moving, tmp_path, task("elastix", pair_folder))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    start = tmp_path / "displacement.nrrd"
    second = elastix_level.register(fixed, moving, tmp_path, task("elastix-level-2", pair_folder, start=start))
    for one, last in ((found, "2"), (second, "2.R1")):
        parameters = itk.ParameterObject.New()
        parameters.ReadParameterFiles([str(tmp_path / f"TransformParameters.{step}.txt") for step in ("0", "1", last)])
        own = itk.array_from_image(itk.transformix_filter(elastix.as_itk(moving), parameters))
        ours = resampled(moving, one, fixed, sitk.sitkBSpline)
        assert np.abs(ours - own).max() < 1e-3 * own.max()
    assert_registers(found, fixed, moving)


@needs("itk")
@pytest.mark.slow
def test_elastix_ends_on_control_points_of_16_mm(pair_folder):
    from mirrba.experiment.backends.elastix import parameter_maps

    maps = parameter_maps(task("elastix", pair_folder))
    spline = maps["bspline"]
    factors = [float(factor) for factor in spline["GridSpacingSchedule"]]
    assert [float(spline["FinalGridSpacingInPhysicalUnits"][0]) * factor for factor in factors] == [128, 64, 32, 16]
    assert {one["NumberOfResolutions"][0] for one in maps.values()} == {"4"}


# ----- MIRRBA, alone and on the result of another


def test_the_field_of_mirrba_is_that_of_its_transform(volumes, pair_folder, tmp_path):
    from mirrba.experiment.backends import mirrba
    from mirrba.registration import register

    fixed, moving = volumes
    given = task("fast", pair_folder)
    found = mirrba.register(fixed, moving, tmp_path, given)
    again = register(fixed, moving, resolve(**given.method.config, device="auto", seed=0))
    ours, theirs = resampled(moving, found, fixed), sitk.GetArrayFromImage(again.warp(moving))
    assert np.abs(ours - theirs).max() < 1e-3 * theirs.max()
    assert_registers(found, fixed, moving)
    assert found.parameters["preset"] == "fast"


def test_combined_composes_with_its_start(volumes, pair_folder, tmp_path):
    """Without iterations only the start is left: its field comes back; with some it changes."""
    from mirrba.experiment.backends import mirrba

    fixed, moving = volumes
    start = displacement_field(read_truth(pair_folder), Geometry.from_image(fixed))
    write_field(sitk.Cast(start, sitk.sitkVectorFloat32), tmp_path / "start.nrrd")
    given = task("combined-greedy", pair_folder, start=tmp_path / "start.nrrd")
    still = Task(given.method.changed(iterations=[0] * 4), given.fixed, given.moving, given.settings, given.files)
    found = mirrba.register(fixed, moving, tmp_path, still)
    distance = np.linalg.norm(sitk.GetArrayFromImage(found.displacement) - sitk.GetArrayFromImage(start), axis=-1)
    assert distance.max() < 0.01
    assert found.parameters["init"] == "greedy"


def read_truth(pair_folder) -> sitk.Transform:
    return sitk.ReadTransform(str(pair_folder / "true_transform.h5"))


def test_combined_without_its_start_is_refused(volumes, pair_folder, tmp_path):
    from mirrba.experiment.backends import mirrba

    with pytest.raises(InputError, match="the file 'start'"):
        mirrba.register(*volumes, tmp_path, task("combined", pair_folder))
