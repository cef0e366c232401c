"""Which students go into one stack, and to one table: who can step together, and pays together."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise

from tsframe.training.prices import Shape

__all__ = ["stacks_of", "tables_of"]

MOST_EDGES = 24  # places where tables may be cut apart: all of them in stacks of one shape


def stacks_of(
    step_keys: Sequence[Hashable],
    data_keys: Sequence[Hashable],
    shapes: Sequence[tuple[int, int]],
    sizes: Sequence[float],
    limits: Sequence[float],
) -> list[list[int]]:
    """Split students into stacks.

    Students of one stack have equal step keys. Data sets whose students have the same shapes lie
    side by side, so that no slot is vacant; a data set with too many students is cut.

    Parameters
    ----------
    step_keys, data_keys : sequences of hashable
        What must be equal to step together; the data set of each student.
    shapes : sequence of (width, depth)
        Shape of each student.
    sizes : sequence of float
        Bytes of each student.
    limits : sequence of float
        Bytes of each student's stack, unless one student is larger; they hang on the step key.

    Returns
    -------
    list of list of int
        Indices of the students of each stack, the largest stack first.
    """
    sets: dict[tuple[Hashable, Hashable], list[int]] = defaultdict(list)
    for i, keys in enumerate(zip(step_keys, data_keys, strict=True)):
        sets[keys].append(i)
    blocks: dict[Hashable, list[list[int]]] = defaultdict(list)
    for (step_key, _), members in sets.items():
        members.sort(key=lambda i: (shapes[i], i))
        for part in _cut(members, sizes, limits[members[0]]):
            composition = tuple(shapes[i] for i in part)
            blocks[step_key, composition].append(part)
    stacks = []
    for parts in blocks.values():
        size = sum(sizes[i] for i in parts[0])
        at_once = max(1, int(limits[parts[0][0]] // size))
        count = -(-len(parts) // at_once)
        for k in range(count):  # evenly, so that no thread waits for a large last stack
            some = parts[k * len(parts) // count : (k + 1) * len(parts) // count]
            stacks.append([i for part in some for i in part])
    return sorted(stacks, key=lambda stack: -sum(sizes[i] for i in stack))


def tables_of(
    students: Sequence[int],
    data: Sequence[int],
    shapes: Sequence[Shape],
    sizes: Sequence[float],
    limit: float,
    price: Callable[[int, Mapping[Shape, int]], float],
) -> list[list[int]]:
    """Split the students of a stack among the tables at which a step costs least.

    The seats of a table are a rectangle, as many for every data set, so that a data set with few
    students left leaves seats vacant beside one with many; but every table has its own price. Data
    sets go in the order of how many students they have, those with the same shapes side by side.

    Parameters
    ----------
    students : sequence of int
        Indices.
    data, shapes, sizes : sequences over all indices
        Data set, (width, depth) and bytes of each.
    limit : float
        Bytes of a table, about; a data set that has more is cut.
    price : callable (data sets, places of each shape that each of them has) -> float
        Of a step at a table; see `tsframe.training.prices.table_price`.

    Returns
    -------
    list of list of int
        The data sets with most students first.
    """
    sets: dict[int, list[int]] = defaultdict(list)
    for i in students:
        sets[data[i]].append(i)
    parts = []
    for members in sets.values():
        parts += _cut(sorted(members, key=lambda i: (shapes[i], i)), sizes, limit)
    seats = {part[0]: Counter(shapes[i] for i in part) for part in parts}
    parts.sort(key=lambda part: (-len(part), sorted(seats[part[0]].items()), part[0]))
    # Between data sets of the same shapes nothing is gained by a cut, unless for memory.
    pairs = enumerate(pairwise(parts), 1)
    edges = [k for k, (one, other) in pairs if seats[one[0]] != seats[other[0]]]
    edges = [0, *edges[:: 1 + len(edges) // MOST_EDGES], len(parts)]
    bytes_of = [sum(sizes[i] for i in part) for part in parts]
    best: list[tuple[float, list[list[int]]]] = [(0.0, [])]
    for end, stop in enumerate(edges[1:], 1):
        places, held, options = Counter[Shape](), 0.0, []
        for k in range(end - 1, -1, -1):
            for part in range(edges[k], edges[k + 1]):
                places |= seats[parts[part][0]]
                held += bytes_of[part]
            count = stop - edges[k]
            tables = max(1, min(count, math.ceil(held / limit)))
            cost = best[k][0] + tables * price(math.ceil(count / tables), places)
            options.append((cost, k, tables))
        cost, k, tables = min(options)
        ends = [edges[k] + n * (stop - edges[k]) // tables for n in range(tables + 1)]
        added = [[i for part in parts[a:b] for i in part] for a, b in pairwise(ends)]
        best.append((cost, best[k][1] + added))
    return best[-1][1]


def _cut(members: list[int], sizes: Sequence[float], limit: float) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    total = 0.0
    for i in members:
        if parts[-1] and total + sizes[i] > limit:
            parts.append([])
            total = 0.0
        parts[-1].append(i)
        total += sizes[i]
    return parts
