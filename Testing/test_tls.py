"""A study on a cluster that takes TLS only, set up as in docs/experiment.md; certificates and processes are real."""

import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from mirrba.errors import InputError
from mirrba.experiment import cluster
from mirrba.experiment.cohort import Pair, read_cohort
from mirrba.experiment.methods import find
from mirrba.experiment.store import Store
from mirrba.experiment.task import Settings
from mirrba.phantom import write_pairs

pytest.importorskip("distributed", reason="the extra cohort is not installed")
if shutil.which("openssl") is None:
    pytest.skip("openssl makes the certificates, and is not installed", allow_module_level=True)
import dask


def openssl(*arguments, folder: Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path) -> Path:
    """An authority of one's own, and a key with its certificate: the commands of docs/experiment.md."""
    folder.mkdir()
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365", "-subj", "/CN=study CA",
            "-keyout", "ca.key", "-out", "ca.pem", folder=folder)  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=study", "-keyout", "key.pem", "-out", "request.pem",
            folder=folder)  # fmt: skip
    openssl("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days",
            "365", "-out", "cert.pem", folder=folder)  # fmt: skip
    return folder


def configured(folder: Path) -> dict[str, object]:
    """Dask's configuration, as docs/experiment.md has it."""
    tls: dict[str, object] = {"distributed.comm.require-encryption": True}
    tls["distributed.comm.tls.ca-file"] = str(folder / "ca.pem")
    for role in ("client", "scheduler", "worker"):
        tls[f"distributed.comm.tls.{role}.cert"] = str(folder / "cert.pem")
        tls[f"distributed.comm.tls.{role}.key"] = str(folder / "key.pem")
    return tls


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    return certificates(tmp_path_factory.mktemp("tls") / "ours")


@pytest.fixture(scope="module")
def scheduler(ours, tmp_path_factory):
    """The address of a cluster of one worker that takes TLS only, started with the commands of docs/experiment.md."""
    file = tmp_path_factory.mktemp("scheduler") / "scheduler.json"
    tls = ["--tls-ca-file", ours / "ca.pem", "--tls-cert", ours / "cert.pem", "--tls-key", ours / "key.pem"]
    shared = ["--scheduler-file", file, "--no-dashboard", *tls]
    with (
        process("scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0", *shared),
        process("worker", "--nthreads", "1", "--no-nanny", *shared),
    ):
        end = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < end
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        assert address.startswith("tls://")
        yield address


@contextmanager
def process(*arguments):
    started = subprocess.Popen(
        [sys.executable, "-m", "dask", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        started.terminate()
        started.wait(20)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> tuple[Pair, ...]:
    folder = tmp_path_factory.mktemp("cohort")
    write_pairs(folder / "pair-001", 1, 16.0, 3)
    return read_cohort(folder).pairs


def test_a_study_runs_on_a_cluster_that_takes_tls_only(scheduler, ours, pairs, tmp_path):
    with dask.config.set(configured(ours)):
        (record,) = cluster.run_cohort(
            pairs, [find("identity")], Settings(threads=1, device="cpu"), Store(tmp_path / "results"), scheduler
        )
    assert record.done, record.message


@pytest.mark.parametrize("client", ["without a certificate", "with another authority's"])
def test_nobody_else_is_let_in(scheduler, pairs, tmp_path, client, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECTING", "2s")
    configuration = {} if client == "without a certificate" else configured(certificates(tmp_path / "theirs"))
    with dask.config.set(configuration), pytest.raises(InputError, match="cannot be reached"):
        cluster.run_cohort(
            pairs, [find("identity")], Settings(threads=1, device="cpu"), Store(tmp_path / "results"), scheduler
        )
    assert not list(tmp_path.glob("results/*/*"))


def test_who_does_not_encrypt_hears_nothing(scheduler):
    host, _, port = scheduler.removeprefix("tls://").rpartition(":")
    with socket.create_connection((host, int(port)), 5) as plain, suppress(ConnectionResetError):
        plain.sendall(b"a greeting without encryption")
        assert len(plain.recv(1000)) < 10  # TLS's alert, at most; Dask's own greeting is longer
