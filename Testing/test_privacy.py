"""A patient's name, number and birth date, planted wherever a file or a node has room, are in nothing written."""

import gzip
import json
import logging
import os
import stat
import subprocess
import sys
import zlib
from importlib.util import find_spec
from pathlib import Path

import pytest
import SimpleITK as sitk
from hostile import body
from mirrba import job as jobs
from mirrba.geometry import Geometry
from mirrba.segments import Segment, Segmentation

MODULE = Path(__file__).parents[1] / "MIRRBARegistration"
SECRETS = ("Beeblebrox^Zaphod", "PID-4711-42", "19520311")
QUICK = {"preset": "fast", "device": "cpu", "spacing": 24, "start": "2,2", "init": "centre"}
TAGS = {
    "0010|0010": SECRETS[0], "0010|0020": SECRETS[1], "0010|0030": SECRETS[2], "PatientName": SECRETS[0],
    "DICOM.PatientID": SECRETS[1], "DICOM_0010_0030": SECRETS[2],
}  # fmt: skip


def secrets_in(content: bytes) -> set[str]:
    """Those that are in the bytes, or in a compressed stream among them."""
    texts = [content]
    if (start := content.find(b"\x1f\x8b\x08")) >= 0:
        texts.append(zlib.decompressobj(wbits=31).decompress(content[start:]))
    return {secret for secret in SECRETS for text in texts if secret.encode() in text}


def nifti(path: Path, image: sitk.Image) -> Path:
    """With the header's free texts: database, description, auxiliary file, intent."""
    sitk.WriteImage(image, str(path.with_suffix("")))
    content = bytearray(path.with_suffix("").read_bytes())
    path.with_suffix("").unlink()
    for place, secret in ((14, SECRETS[1]), (148, " ".join(SECRETS)), (228, SECRETS[0]), (328, SECRETS[2])):
        content[place : place + len(secret)] = secret.encode()
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def tagged(path: Path, image: sitk.Image) -> Path:
    for key, value in TAGS.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path), not path.name.endswith(".dcm"))
    return path


def segmentation(path: Path, image: sitk.Image) -> Path:
    mask = sitk.GetArrayFromImage(image) > 3
    tags = {"DICOM.PatientName": SECRETS[0], "Patient": SECRETS[1], "PatientBirthDate": SECRETS[2], "kept": "kept"}
    Segmentation((Segment("brain", mask, "organ", tags=tags),), Geometry.from_image(image)).write(path)
    return tagged(path, sitk.ReadImage(str(path)))


INPUTS = {
    "NIfTI": ("fixed.nii.gz", nifti),
    "NRRD": ("fixed.nrrd", tagged),
    "MetaImage": ("fixed.mha", tagged),
    "DICOM": ("fixed.dcm", tagged),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_what_headers_say_of_the_patient_is_in_no_result_and_no_log(tmp_path, kind):
    name, write = INPUTS[kind]
    fixed, moving = body(seed=1), body(seed=2)
    if kind == "DICOM":
        fixed, moving = (sitk.Cast(image * 1000 + 100, sitk.sitkUInt16) for image in (fixed, moving))
    inputs = [write(tmp_path / name, fixed), tagged(tmp_path / "moving.nrrd", moving)]
    inputs.append(segmentation(tmp_path / "s.seg.nrrd", body(seed=2)))
    assert all(secrets_in(path.read_bytes()) == set(SECRETS) for path in inputs)
    files = {"fixed": name, "moving": "moving.nrrd", "moving_segmentation": "s.seg.nrrd"}
    (tmp_path / "job.json").write_text(json.dumps({"schema": 1, "task": "register", **files, "config": QUICK}))
    done = subprocess.run(
        [sys.executable, "-m", "mirrba.worker", str(tmp_path)],
        stdin=(reader := os.pipe())[0], capture_output=True, env={**os.environ, "PYTHONPATH": str(MODULE)}, check=False,
    )  # fmt: skip
    for end in reader:
        os.close(end)
    assert done.returncode == 0, done.stderr
    written = list((tmp_path / "output").iterdir())
    assert {path.name for path in written} == set(jobs.OUTPUTS)
    for path in written:
        assert secrets_in(path.read_bytes()) == set(), path.name
    assert secrets_in(done.stdout + done.stderr) == set()
    assert b"kept" in (tmp_path / "output" / "warped_segmentation.seg.nrrd").read_bytes()


# Slicer

needs_slicer = pytest.mark.skipif(find_spec("slicer") is None, reason="slicer-core is not installed")


@pytest.fixture
def patient(application, tmp_path):
    """Two volumes and a segmentation, named, tagged and filed under the patient."""
    nodes = []
    for seed in (1, 2):
        path = tagged(tmp_path / "volume.nrrd", body(seed=seed))
        nodes.append(application.loadVolume(path, f"{SECRETS[0]} PET {seed}"))
    path = segmentation(tmp_path / "s.seg.nrrd", body(seed=2))
    nodes.append(application.loadSegmentation(path, f"{SECRETS[0]} segments"))
    hierarchy = application.subjectHierarchy
    item = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), SECRETS[0])
    for node in nodes:
        for key, value in TAGS.items():
            node.SetAttribute(key, value)
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), item)
        hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(node), "DICOM.PatientID", SECRETS[1])
    return nodes


@needs_slicer
def test_what_nodes_say_of_the_patient_reaches_no_file_that_the_engine_writes(patient):
    from MIRRBARegistrationLib import MIRRBARegistrationLogic

    settings = {key: value for key, value in QUICK.items() if key not in ("preset", "device")}
    job = MIRRBARegistrationLogic().startRegistration(
        *patient, preset="fast", device="cpu", settings=settings, keepJobFolder=True
    )
    assert stat.S_IMODE(job.jobFolder.stat().st_mode) == 0o700
    job.wait()
    assert job.error is None
    # the segments' own tags go to the engine, which drops them
    files = {path for path in job.jobFolder.rglob("*") if path.is_file()} - {
        job.jobFolder / "moving_segmentation.seg.nrrd"
    }
    assert {path.name for path in files} >= {"fixed.nrrd", "job.json", "log.txt", "result.json", "warped.nii.gz"}
    for path in files:
        assert secrets_in(path.read_bytes()) == set(), path.name


@needs_slicer
def test_slicers_log_names_no_node_where_the_user_is_told_its_name(patient, caplog):
    from MIRRBARegistrationLib import MIRRBARegistrationLogic, RegistrationError, backgroundJob

    def startFailing(arguments, environment, logPath):
        event = {"event": "error", "kind": "internal", "message": f"{arguments[-1]}/fixed.nrrd: went wrong."}
        return backgroundJob.startProcess([sys.executable, "-c", f"print({json.dumps(event)!r})"], environment, logPath)

    logic = MIRRBARegistrationLogic()
    logic.startProcess = startFailing
    with caplog.at_level(logging.DEBUG), pytest.raises(RegistrationError) as failure:
        logic.register(*patient)
    assert failure.value.message == f"'{SECRETS[0]} PET 1' went wrong."
    assert "went wrong" in caplog.text
    assert secrets_in(caplog.text.encode()) == set()
