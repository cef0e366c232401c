"""Laws of the orders of minibatches: each is a permutation, and all are equally likely."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from tsframe.students.layout import Layout
from tsframe.training import minibatches, orders as subject
from tsframe.training.minibatches import Seated, TrainingSet
from tsframe.training.orders import epoch_order, order_key, orders, orders_worth_a_call

ERRORS = 5.0  # standard errors


def draw(count: int, n: int, seeds: int = 50) -> torch.Tensor:
    """Draw orders of several seeds and epochs, shape (count, n)."""
    keys = torch.tensor([order_key(seed) for seed in range(seeds)])
    epochs = torch.arange(count // seeds)
    batch = 8 * orders_worth_a_call(n)
    rows = keys.repeat_interleave(len(epochs)).split(batch)
    pairs = zip(rows, epochs.repeat(seeds).split(batch), strict=True)
    return torch.cat([orders(*pair, n) for pair in pairs])


def excess(counts: np.ndarray) -> float:
    """How far counts are from equal ones: chi-square, in its standard errors."""
    expected = counts.sum() / counts.size
    chi_square = ((counts - expected) ** 2 / expected).sum()
    return float((chi_square - (counts.size - 1)) / math.sqrt(2 * (counts.size - 1)))


def assert_mean(values: Any, expected: float) -> None:
    values = np.asarray(values, dtype=float)
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - expected) < ERRORS * error, (values.mean(), expected, error)


def inversions(rows: torch.Tensor) -> np.ndarray:
    pairs = [((row[:, None] > row).triu(1)).sum() for row in rows]
    return torch.stack(pairs).double().numpy()


def reference(key: int, epoch: int, n: int) -> list[int]:
    """One order, number by number and in integers without end."""
    low = 2**31
    height, width = subject._grid(n)

    def words(counter: int) -> tuple[int, int]:
        x, y = counter, (key % low) ^ epoch
        for k in range(7):
            high, rest = divmod(x * 0x692B68C9, low)
            x, y = high ^ y ^ ((key // low + k * 0x4F1BBCDD) % low), rest
        return x, y

    order = []
    for number in range(height * width):
        row, column = divmod(number, width)
        for k in range(7):
            pair = k // 2 * max(height, width)
            if k % 2 == 0:
                row = (row + words(pair + column)[0] * height // low) % height
            else:
                column = (column + words(pair + row)[1] * width // low) % width
        order.append(row * width + column)
    return [number for number in order if number < n]


@pytest.mark.parametrize("n", [1, 7, 400, 401, 1000, 1023])
def test_an_order_is_that_of_integers_without_end(n):
    for key, epoch in ((0, 0), (2**62 - 1, 2**31 - 1), (order_key(1), 5)):
        given = orders(torch.tensor([key]), torch.tensor([epoch]), n)
        assert given[0].tolist() == reference(key, epoch, n)


@pytest.mark.parametrize(
    "some", [range(1, 60), range(390, 412), [2**k + i for k in range(8, 18) for i in (-1, 0, 1)]]
)
def test_every_order_is_a_permutation(some):
    for n in some:
        assert torch.equal(draw(4, n, seeds=2).sort(1).values, torch.arange(n).expand(4, n))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_all_orders_are_equally_frequent(n):
    found = draw(100_000, n)
    codes = (found * n ** torch.arange(n)).sum(1)
    counts = codes.unique(return_counts=True)[1].double().numpy()
    assert len(counts) == math.factorial(n)
    assert excess(counts) < ERRORS


@pytest.mark.parametrize("n", [400, 1000, 1002])
def test_a_number_is_as_likely_to_stand_anywhere(n):
    found, parts = draw(2000, n).numpy(), 20
    where, which = (np.broadcast_to(k, found.shape) * parts // n for k in (np.arange(n), found))
    table = np.histogram2d(where.ravel(), which.ravel(), parts)[0]
    rows = np.bincount(np.arange(n) * parts // n)
    share = np.outer(rows, rows) / n
    variance = share * np.outer(n - rows, n - rows) / (n * (n - 1))  # hypergeometric
    chi_square = ((table - len(found) * share) ** 2 / (len(found) * variance)).sum()
    freedom = (parts - 1) ** 2
    chi_square *= freedom / parts**2  # sums of rows and columns are what they are
    assert (chi_square - freedom) / math.sqrt(2 * freedom) < ERRORS


@pytest.mark.parametrize("n", [400, 1000, 1024])
@pytest.mark.parametrize("row", [False, True])
def test_neighbors_do_not_stay_neighbors(n, row):
    lag = subject._grid(n)[1] if row else 1  # next in a row of the grid, or in a column
    found = draw(4000, n)
    apart = (found[:, lag:] - found[:, :-lag]) % n
    assert excess(apart.flatten().bincount(minlength=n)[1:].double().numpy()) < ERRORS


def law_of_a_pair(side: int, rounds: int, start: tuple[int, int]) -> np.ndarray:
    """How two numbers of a square grid lie to each other in the end, shape (side, side)."""
    law = np.zeros((side, side))
    law[start] = 1.0
    for k in range(rounds):
        law = law.T if k % 2 else law  # columns turn, then rows
        turned = np.tile(law[:, 1:].sum(0) / side, (side, 1))
        law = np.column_stack([law[:, 0], turned])  # on one line they turn alike
        law = law.T if k % 2 else law
    return law


@pytest.mark.parametrize("start", [(1, 0), (0, 1)])
def test_few_rounds_leave_the_trace_that_theory_says_and_all_rounds_leave_none(start, monkeypatch):
    side, few = subject.LEAST_SIDE, 3
    n, lag = side**2, start[0] * side + start[1]
    uniform = np.full((side, side), 1 / (n - 1))
    uniform[0, 0] = 0.0
    trace = abs(law_of_a_pair(side, subject.ROUNDS, start) - uniform).sum() / 2
    assert trace < 2e-4
    monkeypatch.setattr(subject, "ROUNDS", few)
    found = draw(4000, n)
    first = torch.arange(n - lag)
    first = first[first % side + start[1] < side]
    one, other = found[:, first], found[:, first + lag]
    down, right = (other // side - one // side) % side, (other - one) % side
    as_before = ((down == start[0]) & (right == start[1])).double().mean(1)
    expected = law_of_a_pair(side, few, start)[start]
    assert expected > 1.5 / n, "a trace is there to be seen"
    assert_mean(as_before, expected)


@pytest.mark.parametrize("n", [30, 1000])
def test_as_many_numbers_stay_in_place_as_by_chance(n):
    fixed = (draw(8000, n) == torch.arange(n)).sum(1).double().numpy()
    assert_mean(fixed, 1.0)
    assert_mean((fixed - 1.0) ** 2, 1.0)  # as of a Poisson variable


@pytest.mark.parametrize("n", [10, 100])
def test_inversions_have_their_mean_and_variance(n):
    counts = inversions(draw(6000, n))
    mean, variance = n * (n - 1) / 4, n * (n - 1) * (2 * n + 5) / 72
    assert_mean(counts, mean)
    assert_mean((counts - mean) ** 2, variance)


@pytest.mark.parametrize("n", [4, 400, 625, 1024])
def test_odd_permutations_are_as_frequent_as_even_ones(n):
    assert_mean(inversions(draw(400, n)) % 2, 0.5)


@pytest.mark.parametrize("neighbor", ["epoch", "seed", "own key"])
def test_epochs_seeds_and_own_keys_have_nothing_in_common(neighbor):
    n, count = 500, 2000
    if neighbor == "epoch":
        keys, epochs = torch.tensor([order_key(0)] * count), torch.arange(count)
    else:
        seeds = [(k,) if neighbor == "seed" else (0, k) for k in range(count)]
        keys, epochs = torch.tensor([order_key(*s) for s in seeds]), torch.zeros(count).long()
    found = orders(keys, epochs, n)
    one, other = found[:-1].double(), found[1:].double()
    assert_mean((one == other).sum(1), 1.0)
    center = (n - 1) / 2
    products = ((one - center) * (other - center)).mean(1) / ((n * n - 1) / 12)
    assert_mean(products, 0.0)
    assert_mean(products**2, 1 / (n - 1))


def test_an_order_is_the_same_alone_and_among_others():
    keys = torch.tensor([order_key(seed) for seed in range(6)])
    epochs = torch.tensor([3, 0, 7, 3, 1000, 2])
    for n in (5, 400, 997):
        together = orders(keys, epochs, n)
        for k, (key, epoch) in enumerate(zip(keys, epochs, strict=True)):
            assert torch.equal(together[k], orders(key[None], epoch[None], n)[0])
            assert epoch_order(k, n, int(epoch)).tolist() == together[k].tolist()


def test_a_length_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="an order needs 1 <= n < 2\\^31; got n=0"):
        epoch_order(0, 0, 0)


@pytest.mark.parametrize("worth", [1, 6])
@pytest.mark.parametrize("at_once", [1, 50, 2**16])
def test_every_step_sees_its_rows_also_when_data_sets_leave_and_come(worth, at_once, monkeypatch):
    monkeypatch.setattr(minibatches, "orders_worth_a_call", lambda n: worth)
    monkeypatch.setattr(minibatches, "LOOKED_UP", at_once)
    n, batch, seeds = 20, 6, [4, 5, 6]
    inputs = torch.arange(3.0 * n).view(3, n, 1).expand(3, n, 2).contiguous()
    targets = torch.arange(9 * n).view(9, n)  # three students on each, of two shapes
    train = TrainingSet(inputs, targets, seeds, batch, own=[None, 9, None])
    shapes = [((2, 1), (3, 2), (3, 2))[k // 3] for k in range(9)]
    seated: dict[int, Seated] = {}
    for step, sets in enumerate([[0, 1, 2]] * 5 + [[1]] * 9 + [[2, 0]] * 7):
        if len(sets) not in seated:
            some = [k for data in sets for k in (data, data + 3, data + 6)]
            layout = Layout.arrange(some, shapes, [0, 1, 2] * 3, 1, 1, share_rows=True)
            seated[len(sets)] = Seated(train, layout)
        given, asked = train.batch(seated[len(sets)], step)
        epoch, place = divmod(step, n // batch)
        orders_of = [epoch_order(seeds[k], n, epoch, *([9] if k == 1 else [])) for k in range(3)]
        rows = [order[place * batch : (place + 1) * batch] for order in orders_of]
        for row, k in zip(given[..., 0], sets, strict=True):
            assert row.tolist() == (k * n + rows[k]).tolist()
        for row, k in zip(asked, layout.slots, strict=True):
            assert row.tolist() == (k * n + rows[k % 3]).tolist()


@pytest.mark.gpu
def test_every_device_gives_the_same_orders_without_a_word_to_the_host():
    keys = torch.tensor([order_key(seed) for seed in range(40)])
    epochs = torch.arange(40) * 1000
    there = keys.cuda(), epochs.cuda()
    for n in (1, 3, 400, 997, 1000, 5000, 100_003):
        torch.cuda.set_sync_debug_mode("error")
        try:
            given = orders(*there, n)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(given.cpu(), orders(keys, epochs, n))
