"""The crew of a run: which backend of joblib, how many workers, how many threads each.

This is the only file that imports joblib.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import cloudpickle
import joblib
from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

from tsframe.workers.chunk import Came, Orders, Task, train_chunk
from tsframe.workers.gpus import gpus, let_go
from tsframe.workers.stop import deferred

__all__ = ["Crew", "CrewBroken", "dismiss", "muster"]

IDLE = 30  # seconds after which a worker without work leaves
AHEAD = 200  # chunks sent to a cluster at least, since it may gain workers while it runs
Call: TypeAlias = Callable[[Iterable[Task]], Iterator[Came]]


class CrewBroken(RuntimeError):
    """A worker died and took its crew along; a new one may be mustered."""


@dataclass(frozen=True)
class Crew:
    """Who does the work.

    Parameters
    ----------
    backend : str
        Name of joblib's backend.
    workers : int
        How many train at once.
    threads : int
        How many threads each of them uses.
    streams : bool
        Whether the backend gives results as they come; else all at the end.
    """

    backend: str
    workers: int
    threads: int
    streams: bool = True

    @property
    def inside(self) -> bool:
        """Whether the workers live in this process, so that the death of one takes it along."""
        return self.backend in ("sequential", "threading")

    @property
    def local(self) -> bool:
        """Whether the workers are on this machine and started by joblib."""
        return self.inside or self.backend == "loky"

    @property
    def apart(self) -> "Crew":
        """The crew for one chunk alone, in a process of its own."""
        return replace(self, backend="loky", workers=2, streams=True) if self.local else self

    @contextlib.contextmanager
    def at_work(self, orders: Orders, timeout: float | None = None) -> Iterator[Call]:
        """Hold the workers.

        Parameters
        ----------
        orders : Orders
            What they are told.
        timeout : float, optional
            Seconds without a result after which joblib is to give up.

        Yields
        ------
        callable
            To be called with the tasks; gives what came of them.
        """
        ahead = "2*n_jobs" if self.local else max(AHEAD, 2 * self.workers)
        with contextlib.ExitStack() as stack:
            stack.enter_context(threadpool_limits(self.threads))  # undoes it for workers in here
            if self.backend == "loky":
                stack.enter_context(
                    joblib.parallel_config(
                        "loky", inner_max_num_threads=self.threads, idle_worker_timeout=IDLE
                    )
                )
            elif self.backend == "sequential":
                stack.enter_context(joblib.parallel_config("sequential"))
            elif not self.local:
                stack.enter_context(at_least_two())
            parallel = joblib.Parallel(
                n_jobs=self.workers,
                return_as="generator_unordered" if self.streams else "list",
                batch_size=1,
                pre_dispatch=ahead,
                max_nbytes=None,
                timeout=timeout,
            )
            send = joblib.delayed(train_chunk)

            def call(tasks: Iterable[Task]) -> Iterator[Came]:
                faults: list[Exception] = []

                def calls() -> Iterator[Any]:
                    try:
                        for task in tasks:
                            yield send(orders, self.packed(task))
                    except Exception as error:  # in a thread of joblib, which would swallow it
                        faults.append(error)

                try:
                    with deferred() if self.backend == "loky" else contextlib.nullcontext():
                        results = parallel(calls())
                    yield from results
                except BrokenProcessPool as error:
                    raise CrewBroken(f"{error}") from error
                except Exception as error:  # each cluster has its own; tasks themselves raise none
                    if self.local or isinstance(error, TimeoutError):
                        raise
                    raise CrewBroken(f"{type(error).__name__}: {error}") from error
                if faults:
                    raise faults[0]

            yield call
            if self.inside:
                let_go()

    def packed(self, task: Task) -> Task:
        """Pickle the trials where they travel, so that a worker can say what it cannot read."""
        return task if self.inside else replace(task, trials=cloudpickle.dumps(task.trials))


@contextlib.contextmanager
def at_least_two() -> Iterator[None]:
    """Have joblib believe in two workers of a cluster: with one it would train in this process."""
    backend = get_active_backend()[0]
    believed = backend.effective_n_jobs
    vars(backend)["effective_n_jobs"] = lambda n_jobs: max(2, believed(n_jobs))
    try:
        yield
    finally:
        del vars(backend)["effective_n_jobs"]  # the method of its class is seen again


def dismiss() -> None:
    """Let the workers of this process go, so that the next work is done by new ones."""
    get_reusable_executor().shutdown(wait=True)


def muster(n_jobs: int | None, device: str) -> Crew:
    """Settle the number of workers and of threads of each.

    Raises
    ------
    ValueError
        If the number of workers is neither positive nor -1, the device has no known name, there
        are fewer GPUs than workers, or the backend cannot tell of a death.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f"device must be auto, cpu, cuda or cuda:N; got {device!r}.")
    backend, given = get_active_backend()
    configured: int | None = given  # None unless joblib.parallel_config says otherwise
    name = type(backend).__name__.removesuffix("Backend").lower()
    if name == "multiprocessing":
        raise ValueError(
            "the backend 'multiprocessing' waits for ever for a task whose worker died; use "
            "'loky', the default, which is told of it."
        )
    wanted = configured if n_jobs is None else n_jobs
    if wanted is not None and (type(wanted) is not int or (wanted < 1 and wanted != -1)):
        raise ValueError(
            f"n_jobs (--jobs) must be an integer >= 1, or -1 for one worker a core; got {wanted!r}."
        )
    crew = Crew(name, 1, 1, bool(backend.supports_return_generator))
    found = len(gpus()) if device in ("auto", "cuda") else 0
    on_gpu = found > 0 or device.startswith("cuda")
    if wanted is None:
        wanted = max(1, found) if name == "loky" and on_gpu else -1
    elif crew.local and (wanted > found > 0 or (wanted > 1 and device.startswith("cuda:"))):
        raise ValueError(
            f"{wanted} workers asked, {max(1, found)} GPU(s) found, and no two workers share one; "
            "ask for fewer, or for device='cpu' (--device cpu)."
        )
    count = joblib.effective_n_jobs(wanted)
    if name == "loky" and count == 1:
        name = "sequential"  # what joblib makes of it
    threads = max(1, joblib.cpu_count() // count) if crew.local else 1
    return replace(crew, backend=name, workers=count, threads=threads)
