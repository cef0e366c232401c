"""Which students go into one stack: those that can step together, as many as the cache holds."""

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

__all__ = ["stacks_of", "tables_of"]


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
    shapes: Sequence[tuple[int, int]],
    sizes: Sequence[float],
    limit: float,
) -> list[list[int]]:
    """Split the students of a stack among tables, data sets with as many of them side by side.

    Parameters
    ----------
    students : sequence of int
        Indices.
    data, shapes, sizes : sequences over all indices
        Data set, (width, depth) and bytes of each.
    limit : float
        Bytes of a table, about; a data set that has more is cut.

    Returns
    -------
    list of list of int
        Nearly equal ones.
    """
    sets: dict[int, list[int]] = defaultdict(list)
    for i in students:
        sets[data[i]].append(i)
    parts = []
    for members in sorted(sets.values(), key=lambda some: (-len(some), some[0])):
        parts += _cut(sorted(members, key=lambda i: (shapes[i], i)), sizes, limit)
    total = sum(sizes[i] for i in students)
    count = max(1, math.ceil(total / limit))
    tables: list[list[int]] = [[] for _ in range(count)]
    before = 0.0
    for part in parts:
        tables[min(count - 1, int(before * count / total))] += part
        before += sum(sizes[i] for i in part)
    return [table for table in tables if table]


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
