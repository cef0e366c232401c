"""Laws of drawing by several threads and ahead of a device; a CPU stands in for a GPU."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.test_exact_students import trial as exact
from tests.test_trial import assert_same_bits, trial
from tsframe.ahead import draw_side_by_side
from tsframe.batch import train_batch
from tsframe.samples import draw_samples
from tsframe.students.mlp import MLP
from tsframe.training.stopping import BestValidation
from tsframe.trial import train

SIZES = (20, 25, 30, 35)  # each a stack of its own


def stacks(**changes: Any) -> list[Any]:
    changes = {"training": replace(trial().training, max_steps=5)} | changes
    return [
        trial(n_train=n, seed=seed, student=MLP(4), label_noise=noise, **changes)
        for n in SIZES
        for seed in range(3)
        for noise in (0.0, 0.3)
    ]


@pytest.fixture(params=[1, 3])
def idle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Draw ahead, as for a GPU, by so many threads."""
    monkeypatch.setattr("tsframe.together.idle_cores", lambda device, threads: request.param)
    return int(request.param)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())  # other tests may leave some
    yield
    left = set(threading.enumerate()) - before
    assert [one.name for one in left if one.name.startswith("tsframe")] == []


def test_who_draws_and_when_enters_no_result(idle: int) -> None:
    students = [
        *stacks(),
        *stacks(training=replace(trial().training, max_steps=5, stop=BestValidation(10))),
        *(exact(seed=seed) for seed in range(2)),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsframe.together.idle_cores", lambda device, threads: 0)
        plain = train(students, device="cpu", threads=1)
    assert_same_bits(train(students, device="cpu"), plain)


def test_threads_without_a_stack_draw_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2)

    def meet(*arguments: Any) -> Any:
        both.wait(timeout=20)  # for two that draw at one time
        return draw_samples(*arguments)

    one_stack = [trial(seed=seed) for seed in range(6)]
    alone = train(one_stack, device="cpu", threads=1)
    monkeypatch.setattr("tsframe.tasks.draw_samples", meet)
    assert_same_bits(train(one_stack, device="cpu", threads=2), alone)


def test_the_next_stack_is_drawn_while_one_trains_and_no_other(
    idle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, drawn, trained = threading.Condition(), list[int](), list[int]()

    def drawing(inputs: Any, teacher: Any, n_train: int, *more: Any) -> Any:
        with changed:
            if n_train not in drawn:
                drawn.append(n_train)
            # In training is one stack, and ahead of it one.
            assert len(drawn) <= len(trained) + 2, f"{drawn} drawn when {trained} were trained"
            changed.notify_all()
        return draw_samples(inputs, teacher, n_train, *more)

    def training(*arguments: Any) -> Any:
        tasks, *others, draw = arguments
        data = draw()
        ahead = min(len(SIZES), len(trained) + 2)
        with changed:
            assert changed.wait_for(lambda: len(drawn) == ahead, timeout=20), "it is not begun"
        rows = train_batch(*[tasks, *others, lambda: data])
        with changed:
            trained.append(tasks[0].n_train)
        return rows

    monkeypatch.setattr("tsframe.tasks.draw_samples", drawing)
    monkeypatch.setattr("tsframe.together.train_batch", training)
    train(stacks(), device="cpu")
    assert drawn == trained and sorted(drawn) == list(SIZES)


def test_an_error_of_drawing_is_the_one_it_always_was(
    idle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = list[int]()

    def fails(inputs: Any, teacher: Any, n_train: int, *more: Any) -> Any:
        drawn.append(n_train)
        if n_train == 25:
            raise ValueError("no sample of 25 rows; draw fewer")
        return draw_samples(inputs, teacher, n_train, *more)

    monkeypatch.setattr("tsframe.tasks.draw_samples", fails)
    with pytest.raises(ValueError, match=r"^no sample of 25 rows; draw fewer$"):
        train(stacks(), device="cpu")
    assert set(drawn) > {25}, "others were drawn before"


def test_an_interruption_ends_drawing(idle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, begun, go_on = list[int](), threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> Any:
        drawn.append(1)
        begun.set()
        assert go_on.wait(20)
        return draw_samples(*arguments)

    def interrupt(*arguments: Any, **options: Any) -> Any:
        assert begun.wait(20)
        threading.Timer(0.2, go_on.set).start()  # by then all know
        raise KeyboardInterrupt

    monkeypatch.setattr("tsframe.tasks.draw_samples", slowly)
    monkeypatch.setattr("tsframe.together.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(stacks(), device="cpu")
    assert 0 < len(drawn) <= idle, "what was in hand, of 24 data sets"


@pytest.mark.parametrize("threads", [1, 3])
def test_interrupted_drawing_says_so(threads: int) -> None:
    tasks, asked = stacks()[:6], list[int]()

    def interrupted() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(InterruptedError, match="drawing was interrupted before all"):
        draw_side_by_side(tasks, lambda: threads, interrupted)
    drawn = draw_side_by_side(tasks, lambda: threads, lambda: False)
    for one, task in zip(drawn.samples, tasks, strict=True):
        sizes = (task.n_train, task.n_test, task.label_noise)
        plain = draw_samples(task.inputs, task.teacher, *sizes, task.seed)
        assert np.array_equal(one.x_train, plain.x_train)
        assert np.array_equal(one.y_train, plain.y_train)
