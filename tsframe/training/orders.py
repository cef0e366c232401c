"""Orders of minibatches: permutations as functions of a key and an epoch.

Nothing is drawn from a sequence and nothing is sorted: the order of any epoch is computed alone,
for any number of data sets at once, on the device that trains, without a word to the host.
Only integers are added, multiplied and looked up, so every device gives the same orders.

The numbers 0 .. n - 1 stand in a grid of about sqrt(n) rows and columns. A round turns every column
by an amount of its own, the next one every row, and so on: a Feistel network on rows and columns
(Black & Rogaway 2002, "Ciphers with arbitrary finite domains", the generalized Feistel cipher). The
amounts come from a generator with a counter, so there are some sqrt(n) of them to draw, not n.
Where the grid is larger than n, the numbers from n on are left out, and the others move together
(Mitchell, Stokes, Frank & Holmes 2022, "Bandwidth-optimal random shuffling for GPUs": compaction
by a cumulative sum instead of walking along cycles).
"""

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from tsframe.streams import stream

__all__ = ["epoch_order", "order_key", "orders", "orders_worth_a_call"]

ROUNDS = 7  # then two numbers keep a trace of how they lay to each other with chance side^-3
LEAST_SIDE = 20  # with fewer rows or columns more rounds are needed; small n are a part of these
WORD = 31  # bits: the product of two words is below 2^62
MASK = 2**WORD - 1
MIXING = 7  # rounds of the generator; that many pass all tests (Salmon et al. 2011, table 2)
AT_ONCE = 2**15  # places whose work outweighs that of calling; with their grids they fit the cache
MULTIPLIER, WEYL = 0x692B68C9, 0x4F1BBCDD  # theirs without the last bit; 2^31 / golden ratio


def epoch_order(seed: int, n: int, epoch: int, *own: int) -> np.ndarray:
    """Order in which an epoch visits the training rows of one data set.

    Parameters
    ----------
    seed : int
        Seed of the trial.
    n : int
        Number of training rows.
    epoch : int
        0 is the first.
    *own : int
        A further key gives the order of those who have that key alone.

    Returns
    -------
    ndarray of int, shape (n,)
        A permutation of 0 .. n - 1.

    Examples
    --------
    >>> sorted(epoch_order(0, 5, epoch=3).tolist())
    [0, 1, 2, 3, 4]
    """
    key = torch.tensor([order_key(seed, *own)])
    order: np.ndarray = orders(key, torch.tensor([epoch]), n)[0].numpy()
    return order


def order_key(seed: int, *own: int) -> int:
    """Draw the key of all orders of a data set, 0 <= key < 2^62; see `epoch_order`."""
    return int(stream(seed, "minibatches", *own).integers(2 ** (2 * WORD)))


def orders(keys: Tensor, epochs: Tensor, n: int) -> Tensor:
    """Give one order for each pair of a key and an epoch.

    Parameters
    ----------
    keys : Tensor of int64, shape (rows,)
        See `order_key`.
    epochs : Tensor of int64, shape (rows,)
        0 <= epoch < 2^31; on the device of the keys.
    n : int
        Length of the orders, 1 <= n < 2^31.

    Returns
    -------
    Tensor of int64, shape (rows, n)
        Permutations of 0 .. n - 1, on the device of the keys. A row hangs on its own key and epoch
        and on n alone.

    Raises
    ------
    ValueError
        If n is not in [1, 2^31).
    """
    if not 1 <= n <= MASK:
        raise ValueError(f"an order needs 1 <= n < 2^31; got n={n}.")
    count, device = len(keys), keys.device
    height, width = _grid(n)
    laps = ROUNDS // 2 + 2  # no place runs further than around the grid so many times
    # How far the columns and the rows turn, in every pair of rounds: (pairs, count, side).
    pairs = torch.arange((ROUNDS + 1) // 2, device=device)[:, None, None]
    counter = torch.arange(max(height, width), device=device) + max(height, width) * pairs
    down, right = _words(counter, (keys & MASK ^ epochs)[:, None], (keys >> WORD)[:, None])
    turns = [
        # Repeated, so that places need not be brought back into the grid after every round.
        (draws[..., :side] * other >> WORD).int().repeat(1, 1, laps).flatten(1)
        for draws, side, other in ((down, width, height), (right, height, width))
    ]
    number = torch.arange(height * width, dtype=torch.int32, device=device)
    row = torch.arange(count, dtype=torch.int32, device=device)[:, None] * laps
    places = [(number // width + row * height).flatten(), (number % width + row * width).flatten()]
    by = torch.empty_like(places[0])
    for k in range(ROUNDS):
        one, other = k % 2, 1 - k % 2
        places[one] += torch.index_select(turns[one][k // 2], 0, places[other], out=by)
    above = torch.arange(height, device=device) * width
    before = torch.arange(width, device=device)
    mixed = above.repeat(count * laps).index_select(0, places[0])
    mixed += before.repeat(count * laps).index_select(0, places[1])
    if height * width == n:
        return mixed.view(count, n)
    kept = mixed < n
    result = mixed.new_empty(count * n + 1)  # the first place takes all that is left out
    result.scatter_(0, kept.cumsum(0).mul_(kept), mixed)
    return result[1:].view(count, n)


def orders_worth_a_call(n: int) -> int:
    """Give the number of orders of n numbers from which on a call costs less than its work."""
    height, width = _grid(n)
    return max(1, AT_ONCE // (height * width))


@cache
def _grid(n: int) -> tuple[int, int]:
    """Choose height and width of the grid: n places if n is such a product, else a few more.

    Turning an odd number of places is an even permutation. Hence one side is even: otherwise half
    of all orders would never come.
    """
    side = max(LEAST_SIDE, math.isqrt(n - 1) + 1)
    if n % 2 == 0:
        for height in range(side, min(2 * side, n // LEAST_SIDE + 1)):
            if n % height == 0:
                return height, n // height
    height = side + side % 2
    return height, max(LEAST_SIDE, -(-n // height))


def _words(x: Tensor, y: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Give two random words for each pair (x, y) under a key, all of 31 bits.

    Philox-2x (Salmon, Moraes, Dror & Shaw 2011) with words of 31 bits instead of 32, so that no
    product of signed integers of 64 bits overflows.
    """
    for k in range(MIXING):
        product = x * MULTIPLIER
        x, y = product >> WORD ^ (key + k * WEYL & MASK) ^ y, product & MASK
    return x, y
