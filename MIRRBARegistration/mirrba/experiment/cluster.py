"""Methods × pairs on a Dask cluster: this machine's processes by default, or any cluster that is running.

`run_pair` is what is mapped. Its result is stored whole by the worker, so whatever ends a worker, or the study, costs
only what was being computed at that moment.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import devices
from ..errors import Cancelled, InputError, MirrbaError, explained
from .cohort import Pair
from .methods import Method
from .run_pair import run_pair
from .store import Record, Store, key_of
from .task import Settings
from .training import Training, cross_validation, train

if TYPE_CHECKING:
    from distributed import Client, Future

GPU_BACKENDS = ("mirrba", "dl", "convexadam")  # the others compute on the CPU
MEMORY_GB = 4.0  # what a method may need at the paper's 4 mm; fewer run at once where there is less
LIVES = 5  # workers of this machine that may die under a task before it counts as failed
RETRIES = 2  # after an error that is not the method's own, such as a disk that was away
CLOSING = 10.0  # seconds
CONNECTING = "20s"
STARTING = 5.0  # seconds that a method takes beside its registration: imports, files, scores


@dataclass(frozen=True)
class Progress:
    """Where the study stands, after one result more."""

    record: Record
    done: int
    total: int
    fraction: float
    """Of the expected computing time, 0 to 1."""
    remaining_s: float | None


def run_cohort(
    pairs: Sequence[Pair],
    methods: Sequence[Method],
    settings: Settings,
    store: Store,
    scheduler: str | None = None,
    workers: int | None = None,
    *,
    retry_failed: bool = False,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> list[Record]:
    """A record for every pair × method, pair by pair; stored ones are used again, failed ones are among them.

    `scheduler` is the address of a cluster whose workers see the same folders; otherwise `workers` processes are
    started here. Raises Cancelled after Ctrl-C, InputError for a cluster that cannot be had.
    """
    store = Store(store.folder.absolute())
    with _client(scheduler, workers, settings, methods) as client:
        futures = _submitted(client, pairs, methods, settings, store, retry_failed)
        try:
            found = _collected(client, futures, tell)
        except KeyboardInterrupt:
            raise Cancelled(
                "The experiment was stopped; what is finished is kept, and the same command goes on from there."
            ) from None
        finally:
            _stop(client, list(futures))
    return [found[pair.name, method.name] for pair in pairs for method in methods]


def stored(pairs: Sequence[Pair], methods: Sequence[Method], settings: Settings, store: Store) -> list[Record]:
    """As `run_cohort`, but nothing is run: what is not in the store is a failure that says so."""
    records = []
    trainings = _trainings(pairs, methods, settings)
    for pair in pairs:
        for method in methods:
            training = trainings.get((pair.name, method.name))
            key = key_of(pair, method, settings, training=None if training is None else training.key)
            if store.load(method.name, key) is None:
                records.append(replace(_empty(pair, method, key), message=f"{method.title} has not been run."))
            else:
                records.append(run_pair(pair, method, settings, store, training=training))
    return records


def _trainings(pairs: Sequence[Pair], methods: Sequence[Method], settings: Settings) -> dict[tuple[str, str], Training]:
    """By pair and method, for the methods that are trained. Raises InputError where there are too few pairs."""
    found = {}
    for method in methods:
        if method.trained:
            for name, training in cross_validation(pairs, method, settings).items():
                found[name, method.name] = training
    return found


def cores() -> int:
    """Those that this process may use."""
    with suppress(AttributeError):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def fitting_workers(threads: int, workers: int | None = None) -> int:
    """How many methods run at once: `threads` each, no more than there are cores and memory for.

    Raises InputError where `workers` or `threads` ask for more threads than cores.
    """
    there = cores()
    if threads < 1 or (workers is not None and workers < 1):
        raise InputError("Workers and threads are whole numbers from 1; give such.")
    if threads * (workers or 1) > there:
        asked = f"{workers} workers with {threads} threads" if workers else f"{threads} threads"
        raise InputError(f"{asked} are more than the {there} cores of this machine; ask for fewer.")
    return workers or max(1, min(there // threads, int(_memory_gb() // MEMORY_GB)))


def needs_gpu(method: Method, settings: Settings) -> bool:
    """A method that will compute on a GPU takes one for itself."""
    if method.backend not in GPU_BACKENDS:
        return False
    return settings.device.startswith("cuda") or (settings.device == "auto" and bool(_gpus("auto")))


def _gpus(asked: str) -> list[str]:
    """Those that `--device` allows: all of this machine's, or the one that it names."""
    there = [device.name for device in devices.available() if device.name.startswith("cuda")]
    return [name for name in there if asked in ("auto", "cuda", name)]


def _memory_gb() -> float:
    """This machine's, or what its container is allowed."""
    from distributed.system import MEMORY_LIMIT

    return float(MEMORY_LIMIT) / 1e9


@contextmanager
def _client(
    scheduler: str | None, workers: int | None, settings: Settings, methods: Sequence[Method]
) -> Iterator[Client]:
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise MirrbaError(
            "The experiment needs distributed, which is not installed; pip install 'mirrba[cohort]'."
        ) from None
    patient = {"distributed.scheduler.allowed-failures": LIVES}
    if scheduler is not None:
        if workers is not None:
            raise InputError("A cluster has its own number of workers; leave out either the scheduler or the workers.")
        # TLS, if any, comes from Dask's own configuration.
        try:
            client = Client(scheduler, timeout=CONNECTING, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise InputError(f"The scheduler {scheduler} cannot be reached ({reason}); check its address.") from None
        with client:
            _check_gpus(client, settings, methods)
            yield client
        return
    count = fitting_workers(settings.threads, workers)
    needed = any(needs_gpu(method, settings) for method in methods)
    if needed and settings.device.startswith("cuda:"):
        devices.choose(settings.device)  # its sentence names those that are there
    gpus = _gpus(settings.device) if needed else []
    with (
        dask.config.set(patient),
        _local_cluster(count, gpus) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        _check_gpus(client, settings, methods)
        yield client


def _check_gpus(client: Client, settings: Settings, methods: Sequence[Method]) -> None:
    """A method that waits for a GPU which no worker has would wait forever."""
    if not any(needs_gpu(method, settings) for method in methods):
        return
    offered = [worker["resources"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
    if not any("GPU" in resources for resources in offered):
        raise InputError(
            "No worker offers a GPU; start the cluster's with --resources 'GPU=1', or choose the device cpu."
        )


def _local_cluster(count: int, gpus: Sequence[str]) -> Any:
    """Processes of this machine, one method at a time each; the first ones have a GPU each."""
    from distributed import Nanny, Scheduler, SpecCluster

    share = int(_memory_gb() * 1e9 / count)

    def options(number: int) -> dict[str, Any]:
        known: dict[str, Any] = {"nthreads": 1, "memory_limit": share, "host": "127.0.0.1"}
        known |= {"dashboard": False, "silence_logs": logging.CRITICAL, "preload": [__name__]}
        if number < len(gpus):
            known["resources"] = {"GPU": 1}
            if len(gpus) > 1:
                known["env"] = {"CUDA_VISIBLE_DEVICES": gpus[number].partition(":")[2]}
        return known

    return SpecCluster(
        workers={number: {"cls": Nanny, "options": options(number)} for number in range(count)},
        scheduler={"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard": False}},
        silence_logs=logging.CRITICAL,
    )


def dask_setup(worker: Any) -> None:
    """Dask calls this in each worker as it starts. A terminal sends Ctrl-C to all: the study alone is to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _submitted(
    client: Client,
    pairs: Sequence[Pair],
    methods: Sequence[Method],
    settings: Settings,
    store: Store,
    retry_failed: bool,
) -> dict[Future[Any], Record]:
    """The futures, each with the empty record of what it will bring, in order."""
    futures: dict[Future[Any], Record] = {}
    by_key: dict[str, Future[Any]] = {}
    trainings = _trainings(pairs, methods, settings)
    # A method comes after the one that it starts from, wherever the caller has named them.
    ordered = sorted(methods, key=lambda method: method.start is not None)
    for pair in pairs:
        place = _absolute(pair)
        for method in ordered:
            training = trainings.get((pair.name, method.name))
            if training is not None and training.key not in by_key:
                by_key[training.key] = _submitted_training(
                    client, training, store, retry_failed, _name(futures, training.key), -len(futures)
                )
                futures[by_key[training.key]] = training.record()
            key = key_of(pair, method, settings, training=None if training is None else training.key)
            first = None if method.start is None else by_key.get(key_of(pair, method.start, settings))
            if training is not None:
                first = by_key[training.key]
            future = client.submit(
                _task,
                place,
                method,
                settings,
                store,
                retry_failed,
                training,
                first,
                key=_name(futures, f"{pair.name}-{method.name}-{key}", first is not None),
                resources={"GPU": 1} if needs_gpu(method, settings) else None,
                priority=-len(futures),  # pair by pair: what is stopped early has whole pairs
                retries=RETRIES,
            )
            by_key[key] = future
            futures[future] = _empty(pair, method, key)
    return futures


def _name(futures: Sized, what: str, waits: bool = False) -> str:
    """Dask takes what comes before the number for a kind of task. Only a kind that waits for no other is kept back
    and handed out by priority; all others would be dealt to the workers at once.
    """
    return f"mirrba-{'after' if waits else 'alone'}-{len(futures)}-{what}"


def _submitted_training(
    client: Client, training: Training, store: Store, retry_failed: bool, name: str, priority: int
) -> Future[Any]:
    return client.submit(
        _train_task,
        training,
        store,
        retry_failed,
        key=name,
        resources={"GPU": 1} if needs_gpu(training.method, training.settings) else None,
        priority=priority,
        retries=RETRIES,
    )


def _absolute(pair: Pair) -> Pair:
    """With paths that a process started elsewhere finds, too."""
    paths = {name: value.absolute() for name, value in vars(pair).items() if isinstance(value, Path)}
    return replace(pair, **paths)  # type: ignore[arg-type]


def _empty(pair: Pair, method: Method, key: str) -> Record:
    return Record(key, pair.name, pair.centre, method.name, method.title, "failed")


def _task(
    pair: Pair,
    method: Method,
    settings: Settings,
    store: Store,
    retry_failed: bool,
    training: Training | None,
    first: Record | None,
) -> Record:
    """What a worker does. `first` is there so that it comes after what it starts from, or its network's training."""
    return run_pair(
        pair,
        method,
        settings,
        store,
        retry_failed=retry_failed,
        training=training,
        should_stop=_cancelled_here(),
    )


def _train_task(training: Training, store: Store, retry_failed: bool) -> Record:
    return train(training, store, retry_failed=retry_failed, should_stop=_cancelled_here())


def _cancelled_here() -> Callable[[], bool]:
    """Whether nobody wants this task's result any more: the study was stopped, or its process is gone."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    return cancelled


def _collected(
    client: Client, futures: dict[Future[Any], Record], tell: Callable[[Progress], None]
) -> dict[tuple[str, str], Record]:
    """The records by pair and method; trainings are among them."""
    from distributed import as_completed

    found: dict[tuple[str, str], Record] = {}
    clock = _Clock([record.method for record in futures.values()], lambda: len(client.nthreads()))
    for done, future in enumerate(as_completed(futures, loop=client.loop), 1):
        record = _result(future, futures[future])
        found[record.pair, record.method] = record
        tell(clock.after(record, done, len(futures)))
    return found


def _result(future: Future[Any], empty: Record) -> Record:
    """The record, or one that tells why there is none."""
    error = future.exception()
    if error is None:
        return future.result()
    if type(error).__name__ == "KilledWorker":
        return replace(empty, message="Worker after worker has died under it; look into their memory.")
    return replace(empty, message=str(explained(error)))


def _stop(client: Client, futures: list[Future[Any]]) -> None:
    """Withdraw what is left, and give the workers the time to end their methods and tidy up."""
    unfinished = [future for future in futures if not future.done()]
    if not unfinished:
        return
    with suppress(Exception):  # the cluster may be gone
        client.cancel(unfinished)
        end = time.monotonic() + CLOSING
        while time.monotonic() < end and any(client.run(_busy).values()):
            time.sleep(0.2)


def _busy(dask_worker: Any) -> bool:
    """Asked of every worker; Dask gives it by this very name."""
    return any(str(key).startswith("mirrba-") for key in dask_worker.active_keys)


class _Clock:
    """The time left: a method takes as long as it took on the other pairs."""

    def __init__(self, left: list[str], workers: Callable[[], int]) -> None:
        self._left, self._workers = left, workers
        self._seconds: dict[str, list[float]] = {}

    def after(self, record: Record, done: int, total: int) -> Progress:
        self._left.remove(record.method)
        taken = record.info.get("seconds_own", record.info.get("seconds")) if record.done else None
        if taken is not None:
            self._seconds.setdefault(record.method, []).append(float(taken) + STARTING)
        finished = sum(map(sum, self._seconds.values()))
        left = self._expected()
        if left is None:
            return Progress(record, done, total, done / total, None)
        return Progress(record, done, total, finished / (finished + left), left / max(1, self._workers()))

    def _expected(self) -> float | None:
        means = {method: sum(values) / len(values) for method, values in self._seconds.items()}
        if not means:
            return None
        unknown = sum(means.values()) / len(means)
        return sum(means.get(method, unknown) for method in self._left)
