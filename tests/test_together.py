"""Laws of one engine call: how trials are split into jobs enters no result."""

import itertools
import math
import random
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.test_trial import assert_same_bits, product_setting, trial
from tsframe.batch import train_batch
from tsframe.students.mlp import MLP
from tsframe.training.adam import Adam
from tsframe.training.batching import tables_of
from tsframe.training.devices import claim_thread, EngineThreads, share_operations
from tsframe.training.orders import epoch_order
from tsframe.training.sam import SAM
from tsframe.training.sgd import SGD
from tsframe.training.sharing import Choice
from tsframe.training.stopping import TrainLossBelow, ZeroTrainError
from tsframe.training.table import Table
from tsframe.trial import train


def own_orders():
    return [
        trial(student=MLP(width), training=replace(trial().training, lr=lr), own_order=own)
        for width in (5, 8)
        for lr in (0.05, 0.1)
        for own in (False, True)
    ]


def test_a_student_with_an_order_of_its_own_does_not_depend_on_its_mates():
    trials = own_orders()
    together = train(trials, device="cpu")
    for k, one in enumerate(trials):
        alone = train([one], device="cpu").drop_vars("student")
        assert_same_bits(together.isel(student=[k]).drop_vars("student"), alone)
    loss = together.train_loss.values.reshape(4, 2)
    assert (loss[:, 0] != loss[:, 1]).all(), "another order is another student"


def test_orders_of_their_own_differ_and_full_batches_have_none():
    keys = [one.order_key for one in own_orders() if one.own_order]
    assert len(set(keys)) == 4
    orders = {tuple(epoch_order(0, 30, 0, key)) for key in keys} | {tuple(epoch_order(0, 30, 0))}
    assert len(orders) == 5 and all(sorted(order) == list(range(30)) for order in orders)
    full = [trial(training=SGD(0.1, max_steps=20), own_order=own) for own in (False, True)]
    measured = train(full, device="cpu")
    assert measured.train_loss.values[0] == measured.train_loss.values[1]


def test_a_stack_too_large_for_memory_is_halved_and_nothing_else_changes(monkeypatch):
    trials = [trial(seed=seed, student=MLP(width)) for seed in range(3) for width in (3, 8, 8)]
    whole = train(trials, device="cpu")
    sizes: list[int] = []
    held: list[weakref.ref[torch.Tensor]] = []

    def small(tasks, *arguments):
        assert all(tensor() is None for tensor in held), "what failed must leave the memory"
        tensor = torch.zeros(3)
        held.append(weakref.ref(tensor))
        sizes.append(len(tasks))
        if len(tasks) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return train_batch(tasks, *arguments)

    monkeypatch.setattr("tsframe.together.train_batch", small)
    halved = train(trials, device="cpu", threads=1)
    assert_same_bits(halved, whole)
    assert max(sizes) > 2 and halved.attrs["stacks_halved"] == sum(size > 2 for size in sizes)
    assert "stacks_halved" not in whole.attrs

    def none(tasks, *arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("tsframe.together.train_batch", none)
    with pytest.raises(torch.OutOfMemoryError):
        train(trials, device="cpu")


@pytest.mark.parametrize("curve_steps", [(), (0, 5, 31)], ids=["no curves", "curves"])
@pytest.mark.parametrize("training", [SGD(0.1, momentum=0.9), Adam(0.02)], ids=["sgd", "adam"])
def test_how_many_tables_a_stack_has_enters_no_result(training, curve_steps, monkeypatch):
    rules = [ZeroTrainError(check_every=4), TrainLossBelow(0.9, check_every=7), None]
    students = [
        trial(
            student=MLP(width, depth),
            training=replace(training, batch_size=20, max_steps=40, lr=lr, stop=stop),
            curve_steps=curve_steps,
            seed=seed,
        )
        for seed in range(3)
        for width, depth in ((5, 1), (20, 1), (9, 2))
        for lr, stop in zip((0.3, 0.1, 0.05), rules, strict=True)
    ]
    numbers, moved = [], Table.moved

    def spy(tables, layout):
        numbers.append(len(tables))
        return moved(tables, layout)

    monkeypatch.setattr(Table, "moved", spy)
    monkeypatch.setattr("tsframe.training.prices.STEP", 1e15)
    one = train(students, device="cpu", threads=1)
    assert set(numbers) <= {1}
    assert len(set(one.steps.values)) > 2, "they end at different times"
    monkeypatch.setattr("tsframe.training.prices.STEP", 0.0)
    monkeypatch.setattr("tsframe.training.prices.LAYER", 0.0)
    assert_same_bits(train(students, device="cpu", threads=1), one)
    assert max(numbers) > 1, "data sets with few students left sit apart"
    monkeypatch.setattr("tsframe.training.devices.CACHE", 3.5 * students[0].bytes)
    assert_same_bits(train(students, device="cpu", threads=1), one)
    assert max(numbers) > 3, "tables no larger than the cache, whose students join later"


def seat_price(sets, places):
    return sets * sum(places.values())


def test_tables_leave_no_seat_vacant_where_a_table_costs_nothing():
    data = [0] * 5 + [1] * 2 + [2] * 5 + [3] * 2 + [4]
    shapes, sizes = [(5, 1)] * 15, [1.0] * 15
    tables = tables_of(range(15), data, shapes, sizes, math.inf, seat_price)
    assert tables == [[*range(5), *range(7, 12)], [5, 6, 12, 13], [14]]
    tables = tables_of(range(15), data, shapes, sizes, 5.0, seat_price)
    assert tables == [[*range(5)], [*range(7, 12)], [5, 6, 12, 13], [14]]
    cut = tables_of([0, 1, 2, 3, 14], data, shapes, sizes, 2.0, seat_price)
    assert sorted(i for table in cut for i in table) == [0, 1, 2, 3, 14] and max(map(len, cut)) == 2


def test_students_sit_at_those_tables_that_cost_least():
    draw = np.random.default_rng(0)
    for _ in range(20):
        data = draw.integers(6, size=12).tolist()
        shapes = [((5, 1), (9, 2))[k] for k in draw.integers(2, size=12)]
        of_a_table = float(draw.integers(6))

        def price(sets, places, of_a_table=of_a_table):
            return of_a_table + seat_price(sets, places)

        def of_tables(tables, price=price, data=data, shapes=shapes):
            total = 0.0
            for table in tables:
                places = Counter[tuple[int, int]]()
                for k in {data[i] for i in table}:
                    places |= Counter(shapes[i] for i in table if data[i] == k)
                total += price(len({data[i] for i in table}), places)
            return total

        tables = tables_of(range(12), data, shapes, [1.0] * 12, math.inf, price)
        assert sorted(i for table in tables for i in table) == [*range(12)]
        ordered = list(dict.fromkeys(data[i] for table in tables for i in table))
        sets = [[i for i in range(12) if data[i] == k] for k in ordered]
        inner = range(1, len(sets))
        cuts = [cut for k in range(len(sets)) for cut in itertools.combinations(inner, k)]
        ends = ([0, *cut, len(sets)] for cut in cuts)
        every = [[sets[a:b] for a, b in itertools.pairwise(some)] for some in ends]
        costs = [of_tables([[i for one in part for i in one] for part in way]) for way in every]
        assert of_tables(tables) == min(costs)


WIDE = MLP(401, 2)  # 401 x 97 hidden values: more than torch gives one thread
PLAIN = SGD(0.05, momentum=0.9, batch_size=97, max_steps=6)
LARGE = {  # what several threads could share the operations of
    **{one: (replace(WIDE, activation=one), PLAIN) for one in ("relu", "tanh", "sigmoid", "erf")},
    "normalized": (replace(WIDE, batch_norm=True), PLAIN),
    "masked": (replace(WIDE, dropout=0.3), PLAIN),
    "decay": (WIDE, replace(PLAIN, weight_decay=0.1, nesterov=True)),
    "adam": (WIDE, Adam(0.01, batch_size=97, max_steps=6)),
    "sam": (WIDE, SAM(PLAIN, radius=0.05)),
}


@pytest.mark.parametrize("student, training", LARGE.values(), ids=LARGE)
def test_threads_that_join_a_stack_at_any_step_change_no_bit(student, training, monkeypatch):
    draw, shared = random.Random(1), list[int]()
    students = [trial(student=student, training=training, seed=seed) for seed in (0, 1)]
    alone = train(students, device="cpu", threads=1)

    def spy(threads):
        shared.append(threads)
        share_operations(threads)

    monkeypatch.setattr("tsframe.training.table.share_operations", spy)
    monkeypatch.setattr("tsframe.training.table.WORTH_A_THREAD", 1.0)
    monkeypatch.setattr(Choice, "threads", lambda choice, most: most)
    monkeypatch.setattr(EngineThreads, "share", lambda engine_threads: draw.choice([1, 2, 3]))
    joined = train(students, device="cpu", threads=2)
    if joined.attrs["products"] == "onednn":
        assert {1, 2, 3} <= set(shared)
    assert_same_bits(joined, alone)


def test_threads_without_a_stack_of_their_own_join_those_that_are_left(monkeypatch):
    steps = {300: 2, 401: 20, 402: 2}  # three stacks, by their minibatches
    students = [
        trial(student=MLP(width), training=replace(PLAIN, batch_size=97 - k, max_steps=count))
        for k, (width, count) in enumerate(steps.items())
    ]
    alone = train(students, device="cpu", threads=1)
    asked: dict[int, list[int]] = {}
    share = EngineThreads.share

    def spy(engine_threads):
        mine = asked.setdefault(threading.get_ident(), [])
        patience = time.monotonic() + 20.0
        while len(mine) == 10 and engine_threads.jobs > 1:  # the long one waits for the others
            assert time.monotonic() < patience
            time.sleep(0.001)
        mine.append(share(engine_threads))
        return mine[-1] if mine[-1] == 4 else 1

    monkeypatch.setattr(EngineThreads, "share", spy)
    monkeypatch.setattr("tsframe.training.table.WORTH_A_THREAD", 1.0)
    monkeypatch.setattr(Choice, "threads", lambda choice, most: most)
    monkeypatch.setattr("tsframe.training.table.THIN", 0.0)
    joined = train(students, device="cpu", threads=4)
    if joined.attrs["products"] == "onednn":
        seen = {number for some in asked.values() for number in some}
        assert {1, 4} <= seen <= {1, 2, 4}, "three stacks, two, one"
    assert_same_bits(joined, alone)


@pytest.mark.parametrize("thin, most", [(math.inf, 1), (0.0, 2)])
def test_thin_tables_take_turns_and_no_bit_depends_on_it(thin, most, monkeypatch):
    students = [
        trial(training=replace(PLAIN, batch_size=batch, max_steps=20), seed=seed)
        for batch in (19, 20)  # two stacks
        for seed in (0, 1)
    ]
    alone = train(students, device="cpu", threads=1)
    at_work, seen, run = set[int](), list[int](), Table.run
    both = threading.Event()

    def spy(self, *arguments):
        def interrupted():
            at_work.add(threading.get_ident())
            seen.append(len(at_work))
            if len(at_work) == 2:
                both.set()
            both.wait(0.02 if most == 1 else 20.0)  # for the other one, if it may come
            if self._step == arguments[-1] - 1:
                at_work.discard(threading.get_ident())
            return False

        self._descent = replace(self._descent, interrupted=interrupted)
        run(self, *arguments)

    monkeypatch.setattr(Table, "run", spy)
    monkeypatch.setattr("tsframe.training.table.THIN", thin)
    assert_same_bits(train(students, device="cpu", threads=2), alone)
    assert max(seen) == most


def test_threads_that_one_engine_thread_takes_up_are_not_those_of_another():
    found = torch.get_num_threads()
    numbers = dict[str, int]()
    taken, looked = threading.Event(), threading.Event()

    def look(whose):
        numbers[whose] = torch.get_num_threads()

    def join():
        claim_thread()
        share_operations(3)
        taken.set()
        looked.wait(20.0)
        look("mine")

    mine = threading.Thread(target=join)
    mine.start()
    taken.wait(20.0)
    later = threading.Thread(target=look, args=["later"])
    later.start()
    later.join()
    look("caller")
    looked.set()
    mine.join()
    torch.set_num_threads(found)
    assert numbers.pop("mine") in (1, 3), "one where torch has no OpenMP"
    assert numbers == {"later": 1, "caller": found}


def test_one_thread_of_a_worker_stays_one():
    assert [EngineThreads(1, jobs).share() for jobs in (0, 1, 5)] == [1, 1, 1]
    assert [EngineThreads(5, jobs).share() for jobs in (9, 5, 3, 2, 1)] == [1, 1, 1, 2, 5]


TEAMS = """
import time
from pathlib import Path
import torch
from tsframe.training.devices import release_team

def become(count):
    patience = time.monotonic() + 20.0  # threads that were let go take a while to end
    while len(list(Path("/proc/self/task").iterdir())) != count:
        assert time.monotonic() < patience, list(Path("/proc/self/task").iterdir())
        time.sleep(0.01)

numbers = torch.ones(2_000_000)
torch.set_num_threads(3)
release_team()
without = len(list(Path("/proc/self/task").iterdir()))
for _ in range(2):
    assert float(numbers.mul(2.0)[-1]) == 2.0
    become(without + 2)
    release_team()
    become(without)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux does")
def test_the_threads_of_openmp_are_let_go_and_come_back():
    # In a process of its own, for nobody else's threads come and go there.
    done = subprocess.run([sys.executable, "-c", TEAMS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_threads_and_settings_are_as_they_were_found():
    found = torch.get_num_threads(), product_setting()
    train([trial(), trial(seed=1)], device="cpu", threads=2)
    assert (torch.get_num_threads(), product_setting()) == found
    started: list[int] = []
    thread = threading.Thread(target=lambda: started.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert started == [found[0]], "a thread that starts later must find the setting of the process"
