"""Pairs × methods on a real Dask cluster of two workers: order, failures, killed workers, finished results."""

import dataclasses
import threading
import time
from pathlib import Path

import pytest
from mirrba import devices
from mirrba.errors import InputError
from mirrba.experiment import cluster
from mirrba.experiment.cohort import Pair, read_cohort
from mirrba.experiment.methods import Method, find
from mirrba.experiment.store import Record, Store
from mirrba.experiment.task import Settings
from mirrba.phantom import write_pairs

pytest.importorskip("distributed", reason="the extra cohort is not installed")
import psutil

ONE = Settings(threads=1, device="cpu")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> tuple[Pair, ...]:
    folder = tmp_path_factory.mktemp("cohort")
    write_pairs(folder, 2, 16.0, 3)
    return read_cohort(folder).pairs


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def two_workers():
    """A running cluster, as `--scheduler` is given one."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as running:
        yield running.scheduler_address


def tiny_combined() -> Method:
    """On greedy, with two iterations of its own."""
    combined = find("combined-greedy").changed(preset="fast", start=[1, 1], spacing=24.0)
    return dataclasses.replace(combined, start=find("greedy").in_brief())


def registrations() -> list[psutil.Process]:
    """The processes of methods that this one's workers have started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "mirrba.experiment.run_method" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill_first_worker_at_work(killed: list[int]) -> None:
    """As soon as a worker has a method running, it is killed."""
    end = time.monotonic() + 120
    while not killed and time.monotonic() < end:
        for process in registrations():
            try:
                worker = process.parent()
                worker.kill()
                killed.append(worker.pid)
                break
            except (psutil.Error, AttributeError):
                continue
        time.sleep(0.02)


def times(store: Store) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in store.folder.glob("*/*/displacement.nrrd")}


def test_a_killed_worker_loses_nothing(pairs, store, two_workers):
    pytest.importorskip("picsl_greedy")
    methods = [find("identity"), find("greedy").in_brief()]
    killed: list[int] = []
    watch = threading.Thread(target=kill_first_worker_at_work, args=(killed,))
    watch.start()
    records = cluster.run_cohort(pairs, methods, ONE, store, two_workers)
    watch.join()
    assert len(killed) == 1
    assert [(record.pair, record.method) for record in records] == [(p.name, m.name) for p in pairs for m in methods]
    assert all(record.done for record in records), [record.message for record in records]
    assert len(list(store.records())) == 4
    assert registrations() == []


def test_order_failures_progress_and_a_rerun(pairs, store):
    """On its own local cluster: Combined after its start, a failure beside the others, nothing made twice."""
    pytest.importorskip("picsl_greedy")
    wrong = dataclasses.replace(find("identity"), name="wrong", title="Wrong", backend="nothing")
    methods = [tiny_combined(), wrong, find("greedy").in_brief()]
    told: list[cluster.Progress] = []
    records = cluster.run_cohort(pairs[:1], methods, ONE, store, workers=2, tell=told.append)
    assert [record.method for record in records] == ["combined-greedy", "wrong", "greedy"]
    assert [record.status for record in records] == ["done", "failed", "done"]
    assert records[1].message.startswith("Wrong failed")
    assert told[-1].record.method == "combined-greedy"
    assert records[0].info["start"]["key"] == records[2].key
    assert [progress.done for progress in told] == [1, 2, 3]
    assert told[-1].fraction == 1
    assert told[-1].remaining_s == 0
    before = times(store)
    assert len(before) == 2
    again = cluster.run_cohort(pairs[:1], methods, ONE, store)
    assert again == records
    assert times(store) == before
    assert cluster.stored(pairs[:1], [*methods, find("syn")], ONE, store)[-1].message == "SyN has not been run."


def test_pairs_are_finished_one_after_the_other(pairs, store, monkeypatch):
    """What is stopped early has whole pairs, which is what statistics need."""
    from distributed import LocalCluster

    many = [dataclasses.replace(pairs[0], name=f"pair-{number}") for number in range(8)]
    methods = [dataclasses.replace(find("identity"), name=name) for name in ("slow", "b", "c", "d", "e")]
    methods.append(dataclasses.replace(methods[1], name="after", start=methods[1]))
    begun: list[int] = []

    def quickly(pair, method, *_, **__):
        begun.append(many.index(next(one for one in many if one.name == pair.name)))
        time.sleep(0.3 if method.name == "slow" else 0.03)
        return Record("0" * 16, pair.name, pair.centre, method.name, method.title, "failed")

    monkeypatch.setattr(cluster, "run_pair", quickly)
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as here:
        cluster.run_cohort(many, methods, ONE, store, here.scheduler_address)
    assert sorted(begun) == [number for number in range(8) for _ in methods]
    ahead = [pair - min(begun[place:]) for place, pair in enumerate(begun)]
    assert max(ahead) <= 1


def test_no_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(cluster, "cores", lambda: 8)
    monkeypatch.setattr(cluster, "_memory_gb", lambda: 64.0)
    assert cluster.fitting_workers(2) == 4
    assert cluster.fitting_workers(3) == 2
    assert cluster.fitting_workers(8) == 1
    assert cluster.fitting_workers(2, 3) == 3
    monkeypatch.setattr(cluster, "_memory_gb", lambda: 9.0)
    assert cluster.fitting_workers(2) == 2
    for threads, workers in ((9, None), (2, 5), (0, None), (1, 0)):
        with pytest.raises(InputError):
            cluster.fitting_workers(threads, workers)


def test_methods_that_compute_on_a_gpu_take_one(monkeypatch):
    on_gpu = dataclasses.replace(ONE, device="cuda")
    assert cluster.needs_gpu(find("mirrba"), on_gpu)
    assert not cluster.needs_gpu(find("mirrba"), ONE)
    assert not cluster.needs_gpu(find("syncc"), on_gpu)
    monkeypatch.setattr(cluster, "_gpus", lambda asked: ["cuda:0"])
    assert cluster.needs_gpu(find("combined"), dataclasses.replace(ONE, device="auto"))


def test_a_gpu_that_is_named_is_the_only_one(monkeypatch):
    there = [devices.Device(name, name, None, None) for name in ("cuda:0", "cuda:1", "cpu")]
    monkeypatch.setattr(devices, "available", lambda: there)
    found = [cluster._gpus(asked) for asked in ("auto", "cuda", "cuda:1", "cuda:7", "cpu")]
    assert found == [["cuda:0", "cuda:1"], ["cuda:0", "cuda:1"], ["cuda:1"], [], []]


def test_a_worker_with_a_gpu_gets_what_needs_one(pairs, store, monkeypatch):
    monkeypatch.setattr(cluster, "GPU_BACKENDS", ("identity",))
    on_gpu = dataclasses.replace(ONE, device="cuda")
    with pytest.raises(InputError, match="No worker offers a GPU"):
        cluster.run_cohort(pairs[:1], [find("identity")], on_gpu, store)
    with pytest.raises(InputError, match="Device 'cuda:7' is not available"):
        cluster.run_cohort(pairs[:1], [find("identity")], dataclasses.replace(ONE, device="cuda:7"), store)
    monkeypatch.setattr(cluster, "_gpus", lambda asked: ["cuda:0"])
    assert cluster.run_cohort(pairs[:1], [find("identity")], on_gpu, store)[0].done


def test_a_cluster_that_cannot_be_had(pairs, store):
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        with pytest.raises(InputError, match="cannot be reached"):
            cluster.run_cohort(pairs, [find("identity")], ONE, store, address)
    with pytest.raises(InputError, match="number of workers"):
        cluster.run_cohort(pairs, [find("identity")], ONE, store, "tcp://127.0.0.1:9", 2)
