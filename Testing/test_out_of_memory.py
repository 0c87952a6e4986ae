"""What happens when memory runs out: the ladder of docs/reliability.md, then one sentence and exit code 4.

Where no GPU is, PyTorch is made to refuse memory as CUDA does; the host's memory is limited for real.
"""

import json
import logging
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from mirrba import OutOfMemory, deformation, devices, fields, ladder, network, register
from mirrba.errors import explained
from mirrba.network import Moving, Pyramid
from mirrba.presets import resolve

MODULE = Path(__file__).parents[1] / "MIRRBARegistration"
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
SMALL = {"spacing": 24, "iterations": "3,2"}


@pytest.fixture
def pair(pair_folder):
    return tuple(sitk.ReadImage(str(pair_folder / f"{name}.nii.gz"), sitk.sitkFloat32) for name in ("fixed", "moving"))


def refuse(monkeypatch, is_too_much) -> list[tuple]:
    """Make the network's levels refuse memory where `is_too_much(pyramid, voxels)`; returns what was asked."""
    asked, step = [], Pyramid.step

    def limited(self, level, below, moving, fixed):
        asked.append((self.levels[level].recompute, self.mixed, fixed.numel()))
        if is_too_much(self, fixed.numel()):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return step(self, level, below, moving, fixed)

    monkeypatch.setattr(network.Pyramid, "step", limited)
    return asked


def gradients(recompute: bool) -> tuple[int, list[bytes]]:
    """Bytes that the graph of one iteration holds, and the gradients that it gives."""
    torch.manual_seed(0)
    model = Pyramid(resolve("mirrba-depth-2"), mixed=False, recompute=recompute)
    image = torch.rand(1, 1, 16, 24, 16)
    levels = [torch.nn.functional.avg_pool3d(image, 2), image]
    held: dict[int, int] = {}

    def note(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        below = model.step(0, None, Moving(levels), levels[0])
        loss = fields.integrate(model.step(1, below, Moving(levels), image).velocity).square().sum()
    loss.backward()
    return sum(held.values()), [p.grad.numpy().tobytes() for p in model.parameters()]


def test_recomputing_holds_much_less_and_changes_no_bit():
    (all_bytes, kept), (fewer_bytes, recomputed) = gradients(False), gradients(True)
    assert fewer_bytes < 0.5 * all_bytes
    assert kept == recomputed


def ladder_of(monkeypatch, first_device, **settings) -> list[tuple]:
    monkeypatch.setattr(devices, "label_of", lambda device: device.type)
    monkeypatch.setattr(devices, "supports_bfloat16", lambda device: device.type == "cuda")
    config = resolve(**{"preset": "mirrba", **settings})
    way, ways = ladder.Way(first_device, mixed=False), []
    while (lower := ladder.below(way, config)) is not None:
        way, sentence = lower
        assert sentence.startswith("Not enough memory on ")
        ways.append((way.device.type, way.recompute, way.mixed, way.coarser))
    return ways


def test_the_ladder_goes_by_recomputing_bfloat16_coarser_grids_and_the_cpu(monkeypatch):
    steps = ladder_of(monkeypatch, CUDA)
    assert steps[:6] == [
        ("cuda", True, False, 0),
        ("cuda", True, True, 0),
        ("cuda", True, True, 1),
        ("cuda", True, True, 2),
        ("cuda", True, True, 3),
        ("cpu", False, steps[5][2], 0),
    ]
    assert steps[-1][0] == "cpu"
    assert steps[-1][3] == 3


def test_what_the_user_has_set_is_not_changed(monkeypatch):
    assert ladder_of(monkeypatch, CUDA, spacing=3, device="cuda:0") == [
        ("cuda", True, False, 0),
        ("cuda", True, True, 0),
    ]
    assert ladder_of(monkeypatch, CPU, spacing=3) == [("cpu", True, False, 0)]


def test_without_a_network_only_the_grid_can_give_way(monkeypatch):
    assert ladder_of(monkeypatch, CPU, preset="fast") == [("cpu", False, False, n) for n in (1, 2, 3)]


def test_recomputing_is_tried_first_and_said(pair, monkeypatch, caplog):
    config = resolve("mirrba-depth-2", device="cpu", **SMALL)
    whole = register(*pair, config)
    refuse(monkeypatch, lambda pyramid, voxels: not pyramid.levels[0].recompute)
    with caplog.at_level(logging.WARNING, "mirrba"):
        registration = register(*pair, config)
    (sentence,) = registration.provenance["departures"]
    assert "computed twice instead of kept" in sentence
    assert [record.getMessage() for record in caplog.records] == [sentence]
    assert registration._displacement.tobytes() == whole._displacement.tobytes()
    assert registration.history == whole.history
    assert whole.provenance["departures"] == []


def test_levels_that_are_finished_are_not_run_again(pair, monkeypatch):
    config = resolve("mirrba-depth-2", device="cpu", **SMALL)
    refuse(monkeypatch, lambda pyramid, voxels: voxels > 10_000 and not pyramid.levels[0].recompute)
    events = []
    register(*pair, config, on_progress=events.append)
    stages = [event.stage for event in events if event.iteration == 0]
    assert stages == ["preparing", "level 1 of 2", "level 2 of 2", "level 2 of 2"]


def test_a_coarser_grid_follows_and_the_result_says_so(pair, monkeypatch):
    monkeypatch.setattr(devices, "supports_bfloat16", lambda device: False)
    monkeypatch.setattr("mirrba.schedule.voxel_limit", lambda config, device: 20_000)
    config = resolve("mirrba-depth-2", device="cpu", iterations="1,1")
    usual = register(*pair, config).provenance
    asked = refuse(monkeypatch, lambda pyramid, voxels: voxels > 0.6 * np.prod(usual["grid"]))
    provenance = register(*pair, config).provenance
    assert usual["spacing_mm"] * 1.2 < provenance["spacing_mm"] < usual["spacing_mm"] * 1.7
    assert "times as coarse" in provenance["departures"][-1]
    assert f"{provenance['spacing_mm']:g} mm" in provenance["plan"]
    assert max(voxels for _, _, voxels in asked) == np.prod(usual["grid"])


def test_the_cpu_takes_over_from_a_gpu_that_is_full(pair, monkeypatch):
    """No GPU here: the tensors of its run are refused before they are made."""
    tensor_on = deformation._tensor

    def refused_on_cuda(array, device):
        if device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return tensor_on(array, device)

    monkeypatch.setattr(deformation, "_tensor", refused_on_cuda)
    monkeypatch.setattr(devices, "choose", lambda name: CUDA)
    monkeypatch.setattr(devices, "label_of", lambda device: "a GPU" if device.type == "cuda" else "cpu")
    monkeypatch.setattr(devices, "prefers_bfloat16", lambda device: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    made_current = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: made_current.append(device) or nullcontext())
    provenance = register(*pair, resolve("mirrba-depth-2", **SMALL)).provenance
    assert set(made_current) == {CUDA}  # what Triton and CUDA streams go by
    assert provenance["device"] == "cpu"
    assert "runs on the CPU" in provenance["departures"][-1]


def test_at_the_foot_of_the_ladder_there_is_a_sentence(pair, monkeypatch):
    refuse(monkeypatch, lambda pyramid, voxels: True)
    with pytest.raises(OutOfMemory, match=r"^Not enough memory on cpu, .* set a spacing coarser than 24 mm\.$"):
        register(*pair, resolve("mirrba-depth-2", device="cpu", **SMALL))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("Exception thrown in SimpleITK: Failed to allocate memory for image."),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_every_library_s_word_for_it_is_understood(error):
    assert (explained(error).kind, explained(error).exit_code) == ("memory", 4)


def test_another_error_is_not_taken_for_it(pair, monkeypatch):
    def fail(*_):
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(network.Pyramid, "step", fail)
    with pytest.raises(RuntimeError, match="illegal"):
        register(*pair, resolve("mirrba-depth-2", device="cpu", **SMALL))


LIMITED = """
import re, resource, sys
from pathlib import Path
import torch
from mirrba import cli, network

fixed, moving, out, room = sys.argv[1:]
quick = ["--preset", "mirrba-depth-1", "--device", "cpu", "--quiet"]
# the threads and buffers that any run needs are there before the limit is
assert cli.main(["register", fixed, moving, "-o", out + "-first", "--spacing", "40", "--iterations", "1", *quick]) == 0
used = int(re.search(r"VmData:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
limit = used + int(room) * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
options = ["--iterations", "1"] + (["--spacing", "8"] if room == "60" else [])
sys.exit(cli.main(["register", fixed, moving, "-o", out, *options, *quick]))
"""


# What is free goes back to the system at once: how much is left within the limit is the same in every run.
WITHOUT_CHANCE = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


def limited(pair_folder, out: Path, room_mb: int) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, (pair_folder / "fixed.nii.gz", pair_folder / "moving.nii.gz", out)),
         str(room_mb)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(MODULE), **WITHOUT_CHANCE},
    )  # fmt: skip


linux_only = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's limit on memory")


@linux_only
def test_a_real_limit_of_the_hosts_memory_makes_the_run_step_down(pair_folder, tmp_path):
    departures: list[str] = []
    # between enough and too little, wherever that is on this machine
    for room in (130, 120, 110, 100, 90, 80, 70, 160, 150, 140):
        out = tmp_path / f"out-{room}"
        done = limited(pair_folder, out, room)
        assert done.returncode in (0, 4), done.stderr
        if done.returncode == 0:
            departures = json.loads((out / "result.json").read_text())["departures"]
        if departures:
            break
    assert departures
    assert all(sentence.startswith("Not enough memory on cpu") for sentence in departures)


@linux_only
def test_a_real_limit_that_nothing_fits_in_ends_with_exit_code_4(pair_folder, tmp_path):
    done = limited(pair_folder, tmp_path / "out", 60)
    assert done.returncode == 4, done.stderr
    assert "emory" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out/result.json").exists()


def test_a_gpu_that_refuses_is_left_out(monkeypatch, caplog):
    def refuse_the_second(index):
        if index == 1:
            raise RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable")
        return 2**30, 2**31

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", refuse_the_second)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")
    assert [device.name for device in devices.available() if device.name != "mps"] == ["cuda:0", "cpu"]
    assert "cuda:1 does not answer (CUDA error: all CUDA-capable devices are busy or unavailable)" in caplog.text


@pytest.mark.parametrize("step", ["Execute", "MetricEvaluate"])
def test_a_lack_of_memory_in_the_alignment_is_no_failed_alignment(pair, monkeypatch, step):
    def refused(*_):
        raise RuntimeError("itkImportImageContainer.hxx:192:\nFailed to allocate memory for image.")

    monkeypatch.setattr(sitk.ImageRegistrationMethod, step, refused)
    with pytest.raises(RuntimeError, match="allocate memory") as caught:
        register(*pair, resolve("fast", device="cpu", **{**SMALL, "iterations": None}))
    assert isinstance(explained(caught.value), OutOfMemory)


def test_what_kept_torch_from_being_loaded_is_what_is_said(pair_folder):
    """A second attempt would fail for another reason: half of it is there."""
    code = """
import sys
import SimpleITK as sitk
import mirrba
class Refusing:
    refused = False
    def find_spec(self, name, path, target=None):
        if name == "torch.functional" and not self.refused:
            self.refused = True
            raise MemoryError("std::bad_alloc")
sys.meta_path.insert(0, Refusing())
try:
    mirrba.register(*(sitk.ReadImage(file, sitk.sitkFloat32) for file in sys.argv[1:]))
except MemoryError as error:
    print("refused:", error)
"""
    files = [str(pair_folder / f"{name}.nii.gz") for name in ("fixed", "moving")]
    environment = {**os.environ, "PYTHONPATH": str(MODULE)}
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, env=environment)
    assert done.stdout == "refused: std::bad_alloc\n", done.stderr


def test_a_library_that_does_not_fit_into_memory_is_a_lack_of_it():
    error = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    assert isinstance(explained(error), OutOfMemory)
    assert not isinstance(explained(ImportError("No module named 'torch'")), OutOfMemory)


def test_each_step_down_is_a_sentence_of_its_own():
    way, said = ladder.first(CPU), []
    while (lower := ladder.below(way, resolve("default", device="cpu"))) is not None:
        way, sentence = lower
        said.append(sentence)
    assert len(said) == len(set(said)) == ladder.COARSER_STEPS
