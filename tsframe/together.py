"""One engine call for trials of any kind: split into jobs, run side by side, gathered in rows.

Every job is a stack of students that step together, or the exact students of one data set. A stack
that the memory of a device cannot hold is halved. How trials are split never enters a result.
"""

import contextlib
import functools
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, cast, Protocol

import numpy as np
import torch
import xarray as xr
from threadpoolctl import threadpool_limits

from tsframe.ahead import Ahead, draw_side_by_side
from tsframe.batch import Drawn, is_resident, pools, StepTask, train_batch
from tsframe.solving.exact import ExactTask, solve_students
from tsframe.tasks import Task
from tsframe.training.batching import stacks_of
from tsframe.training.devices import (
    claim_thread,
    cpu_count,
    device_name,
    EngineThreads,
    free_memory,
    idle_cores,
    release_team,
    share_operations,
    stack_bytes,
)
from tsframe.training.graphs import recorder, Replays
from tsframe.training.products import check_route, product_route, Route

__all__ = ["AnyTask", "check_device", "train_tasks"]


class AnyTask(Task, Protocol):
    """A task with what decides which others it may be trained with."""

    @property
    def exact(self) -> bool: ...  # noqa: D102 - described by Trial
    @property
    def step_key(self) -> Hashable: ...  # noqa: D102
    @property
    def precision(self) -> str | None: ...  # noqa: D102
    @property
    def bytes(self) -> float: ...  # noqa: D102
    @property
    def declared(self) -> Mapping[str, Mapping[str, tuple[float, ...]]]: ...  # noqa: D102


def check_device(tasks: Sequence[AnyTask], device: torch.device, mode: str) -> None:
    """Refuse a device that cannot train these; see `tsframe.training.products.check_route`."""
    stepping = {str(task.precision) for task in tasks if not task.exact}
    for precision in sorted(stepping | {"float64"}):  # which any device has in any mode
        check_route(device, precision, mode)


def train_tasks(
    tasks: Sequence[AnyTask],
    device: torch.device,
    threads: int | None = None,
    mode: str = "strict",
) -> xr.Dataset:
    """Train tasks of mixed shapes and data sets; see `tsframe.trial.train`.

    Parameters
    ----------
    tasks : sequence of AnyTask
        One student each, at least one.
    device : torch.device
        Where to train.
    threads : int, optional
        As many as there are cores by default. On the CPU each takes a job for itself; when fewer
        are left, those that have none share the operations of large stacks and the drawing of
        data. Beside a GPU they draw the data of the next stack.
    mode : str
        ``"strict"`` or ``"fast"``.

    Returns
    -------
    xr.Dataset
        Dim ``student`` in the order of `tasks`; everything that they declare, and ``diverged``.
    """
    threads = threads or cpu_count()
    idle = idle_cores(device, threads)  # while the device trains
    threads = 1 if idle else threads
    result = _blank(tasks)
    interrupted = threading.Event()
    found_threads, halved = torch.get_num_threads(), 0
    replays = Replays(recorder(device))
    pool = ThreadPoolExecutor(threads, "tsframe", initializer=claim_thread)
    ahead = Ahead()
    try:
        # Every engine thread works alone for as long as there is a job for each: no number of
        # threads enters a result, and small products lose no time to synchronization.
        with threadpool_limits(1, user_api="blas"), contextlib.ExitStack() as settings:
            routes = {
                precision: settings.enter_context(product_route(device, precision, mode))
                for precision in sorted({str(task.precision) for task in tasks if not task.exact})
            }
            resident = [
                not task.exact
                and is_resident(cast(StepTask, task), routes[str(task.precision)], device)
                for task in tasks
            ]
            stacks = _stacks(tasks, routes, resident, device, threads)
            data_sets = defaultdict(list)  # exact students of one share features and factors
            for k in (k for k, task in enumerate(tasks) if task.exact):
                data_sets[tasks[k].sharing_key, tasks[k].objective].append(k)

            engine_threads = EngineThreads(threads, len(stacks) + len(data_sets))
            if threads > 1:
                release_team()

            def begin(stack: list[int]) -> Future[dict[str, np.ndarray] | None]:
                mine = cast(list[StepTask], [tasks[k] for k in stack])
                route = routes[mine[0].precision]
                hands = (lambda: idle) if idle else engine_threads.share
                now = functools.partial(draw_side_by_side, mine, hands, interrupted.is_set)
                draw = ahead.later(now) if idle else now
                arguments = (mine, device, route, interrupted.is_set, engine_threads, replays, draw)
                return pool.submit(_train_if_it_fits, *arguments)

            jobs: dict[Future[Any], list[int]] = {begin(stack): stack for stack in stacks}
            for data_set in data_sets.values():
                solved = cast(list[ExactTask], [tasks[k] for k in data_set])
                jobs[pool.submit(solve_students, solved, interrupted.is_set)] = data_set
            while jobs:
                for job in wait(jobs, return_when=FIRST_COMPLETED).done:
                    students = jobs.pop(job)
                    rows = job.result()
                    engine_threads.jobs -= 1
                    if rows is not None:
                        _write_rows(result, tasks, students, rows)
                        continue
                    halved, engine_threads.jobs = halved + 1, engine_threads.jobs + 2
                    middle = len(students) // 2
                    for half in (students[:middle], students[middle:]):
                        jobs[begin(half)] = half
    finally:
        interrupted.set()
        pool.shutdown(cancel_futures=True)
        ahead.close()
        torch.set_num_threads(found_threads)  # threads that start later would inherit ours
    names = {route.name for route in routes.values()}
    names |= {"lapack"} if any(task.exact for task in tasks) else set()
    names |= {"triton resident"} if any(resident) else set()
    result.attrs = {
        "device": device_name(device),
        "precision": ", ".join(sorted({str(task.precision) for task in tasks})),
        "products": ", ".join(sorted(names)),
        "mode": "strict" if all(route.strict for route in routes.values()) else "fast",
        "torch": str(torch.__version__),
        **({"graphs": replays.captures} if replays.captures else {}),
        **({"graph_seconds": round(replays.seconds, 3)} if replays.seconds else {}),
        **({"stacks_halved": halved} if halved else {}),
    }
    return result


def _train_if_it_fits(
    tasks: Sequence[StepTask],
    device: torch.device,
    route: Route,
    interrupted: Callable[[], bool],
    engine_threads: EngineThreads,
    replays: Replays,
    draw: Callable[[], Drawn],
) -> dict[str, np.ndarray] | None:
    """Train a batch, or give None if the device has no memory for several students at once."""
    try:
        return train_batch(tasks, device, route, interrupted, engine_threads, replays, draw)
    except torch.OutOfMemoryError:
        if len(tasks) == 1:
            raise
    finally:
        share_operations(1)
        release_team()  # else it would count beside those that are made next
    free_memory(device)  # here, where the exception no longer holds the tensors of its frames
    return None


def _stacks(
    tasks: Sequence[AnyTask],
    routes: dict[str, Route],
    resident: Sequence[bool],
    device: torch.device,
    threads: int,
) -> list[list[int]]:
    """Split tasks into stacks, so that no result depends on how."""
    # Data sets of one seed go side by side: they begin with the same standard normals.
    stepping = sorted(
        (k for k, task in enumerate(tasks) if not task.exact), key=lambda k: tasks[k].seed
    )
    some = [tasks[k] for k in stepping]
    taught = cast(list[StepTask], some)
    networks = [task.student for task in taught]
    sizes = [task.bytes for task in some]
    shared = [routes[str(task.precision)].rows_independent for task in some]
    keys = [(tasks[k].step_key, resident[k]) for k in stepping]
    mates = defaultdict(list)
    for key, task in zip(keys, taught, strict=True):
        mates[key].append(task)
    limits = {
        key: stack_bytes(device, threads, sum(sizes), pools(mine)) for key, mine in mates.items()
    }
    stacks = stacks_of(
        keys,
        # Where rows of a product depend on each other, every student is a group of its own, and
        # only students of one shape make a stack.
        [(task.minibatch_key, None if shared[k] else k) for k, task in enumerate(taught)],
        [(network.width, network.depth) for network in networks],
        sizes,
        [limits[key] for key in keys],
    )
    return [[stepping[k] for k in stack] for stack in stacks]


def _blank(tasks: Sequence[AnyTask]) -> xr.Dataset:
    """Make the Dataset of all declared measures, filled with NaN."""
    coordinates: dict[str, set[float]] = {}
    dims: dict[str, tuple[str, ...]] = {}
    seen: Mapping[str, Mapping[str, tuple[float, ...]]] = {}
    for task in tasks:
        if task.declared == seen:  # as of most tasks that stand side by side
            continue
        seen = task.declared
        for name, inner in seen.items():
            dims[name] = tuple(inner)
            for dim, values in inner.items():
                coordinates.setdefault(dim, set()).update(values)
    blank = xr.Dataset(
        coords={"student": np.arange(len(tasks))}
        | {dim: sorted(values) for dim, values in coordinates.items()}
    )
    for name, inner_dims in dims.items():
        shape = (len(tasks), *(len(coordinates[dim]) for dim in inner_dims))
        blank[name] = (("student", *inner_dims), np.full(shape, np.nan))
    blank["diverged"] = ("student", np.zeros(len(tasks), dtype=bool))
    return blank


def _write_rows(
    result: xr.Dataset,
    tasks: Sequence[AnyTask],
    students: list[int],
    rows: Mapping[str, np.ndarray],
) -> None:
    """Write what a job measured, each number where its own coordinates have their place.

    A vector of a job is as long as its longest; what stands behind the end of a shorter one is not
    looked at.
    """
    vectors = [name for name, values in rows.items() if values.ndim > 1]
    for name, values in rows.items():
        if values.ndim == 1:
            result[name].values[students] = values
    for place, student in enumerate(students if vectors else ()):
        declared = tasks[student].declared
        for name in vectors:
            if name in declared:
                own = declared[name]
                at = [np.searchsorted(result[dim].values, own[dim]) for dim in own]
                first = tuple(slice(len(own[dim])) for dim in own)
                result[name].values[student][np.ix_(*at)] = rows[name][place][first]
