"""What a sweep asks of its trials, checked before the first of them is trained.

A trial knows its cost, its measures and how a list of its kind is trained together; no more of it
is known to the sweep half.
"""

import inspect
import logging
import math
import pickle
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import xarray as xr

from tsframe.axes import check_name, describe, Value

__all__ = ["Measures", "TrialLike", "check_mode", "check_trials", "told", "vector_lengths"]

LOG = logging.getLogger("tsframe")
MODES = ("strict", "fast")  # whether a student has the same bits in any batch, on any device
HEAVY = 10e6  # bytes of a trial that are worth a word
PADDED = 4.0  # stored numbers for each that is measured that are worth a word
Measures: TypeAlias = dict[str, dict[str, tuple[float, ...]]]


class Domain(Protocol):
    """A grid of cells, as a sweep is one."""

    axes: dict[str, tuple[Value, ...]]

    def cell(self, number: int) -> dict[str, Value]:
        """Give the cell with this number."""

    def corners(self) -> list[int]:
        """Give the numbers of some cells far apart."""


class TrialLike(Protocol):
    """What a sweep asks of a trial: a picklable value whose repr is its provenance.

    It may also know ``shared_flops``, a dict of the work that is done once for all trials of a call
    that have it under an equal key, and its type the static methods ``speed(device, threads)``,
    in `flops` a second, and ``memory(trials, threads)``, the bytes that training them together
    takes; then a plan predicts time and memory. A static ``check_device(trials, device, mode)``
    raises ValueError where a device cannot train them; each worker asks it first.
    """

    @property
    def sharing_key(self) -> Hashable:
        """Trials with equal keys use one data set and are cheap to train together."""

    @property
    def shape_key(self) -> Hashable:
        """Trials with equal keys step in one batched product."""

    @property
    def flops(self) -> float:
        """Predicted work in floating-point operations, > 0, overheads included."""

    @property
    def declared(self) -> Mapping[str, Mapping[str, tuple[float, ...]]]:
        """Each measure and the coordinates of its inner dims; a scalar measure has none.

        Trials of a sweep may differ in them: the store holds all, with NaN where a trial does not
        declare a measure. Of two trials one may have shorter vectors; then their coordinates are
        the first ones of the longer, and the store pads them with NaN and keeps their lengths. A
        measure that is NaN makes its trial fail, unless the trial diverged or names the measure in
        an attribute ``may_lack``.
        """

    @staticmethod
    def train_together(
        trials: Sequence[Any], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        """Train a list of trials: one row of dim ``student`` a trial, in order.

        A kind of trial that has a mode besides "strict" takes it as a further keyword, ``mode``.
        """


def told(trial: Any) -> str:
    """Give the text that identifies a trial: its repr, without its measures if it can say so.

    The attribute ``unmeasured`` of a trial, if it has one, is the same trial asked for nothing.
    """
    return repr(getattr(trial, "unmeasured", trial))


def check_mode(trials: Sequence[Any], mode: str) -> None:
    """Refuse a mode that there is not, or that this kind of trial does not know.

    Raises
    ------
    ValueError
        With a sentence that says what to ask for instead.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be {' or '.join(MODES)}; got mode={mode!r}.")
    kind = type(trials[0])
    if mode != "strict" and "mode" not in inspect.signature(kind.train_together).parameters:
        raise ValueError(f"{kind.__name__} trials know no mode={mode!r}; leave it at 'strict'.")


def check_trials(trials: Sequence[Any], grid: Domain) -> tuple[Measures, list[str]]:
    """Refuse what is no trial, cannot travel to a worker or measures something else.

    Returns
    -------
    tuple
        The measures of all trials together, and the names of those that some do not declare or may
        lack.
    """
    first = grid.cell(0)
    for number, trial in enumerate(trials):
        if type(trial) is not type(trials[0]) or number == 0:
            needed = ("sharing_key", "shape_key", "flops", "declared", "train_together")
            missing = [name for name in needed if not hasattr(trial, name)]
            if missing:
                hint = " Did you forget `return`?" if trial is None else ""
                raise TypeError(
                    f"the sweep function returned {trial!r:.80} for cell "
                    f"{describe(grid.cell(number))}; it must return a Trial "
                    f"(missing: {', '.join(missing)}).{hint}"
                )
            if number:
                raise TypeError(
                    f"the trial of cell {describe(first)} is a {type(trials[0]).__name__}, that of "
                    f"{describe(grid.cell(number))} a {type(trial).__name__}; one sweep trains "
                    "one kind of trial."
                )
    kinds: dict[str, tuple[int, Measures]] = {}  # trials ask for few sets of measures
    counts: Counter[str] = Counter()
    lacking: set[str] = set()
    seen, kind = None, ""
    for number, trial in enumerate(trials):
        if trial.declared != seen:
            seen, kind = trial.declared, repr(trial.declared)
            kinds.setdefault(kind, (number, plain_measures(seen)))
        counts[kind] += 1
        lacking.update(getattr(trial, "may_lack", ()))
        if not (math.isfinite(trial.flops) and trial.flops > 0):
            raise ValueError(
                f"the trial of cell {describe(grid.cell(number))} gives flops={trial.flops!r}; "
                "its cost must be finite and > 0."
            )
    declared = list(kinds.values())
    for _, own in declared:
        check_measures(grid.axes, own)
    measures = joint([own for _, own in declared])
    for number, own in declared[1:]:
        pair = [declared[0][1], own]
        if not all(fits(one, whole) for whole in (joint(pair), measures) for one in pair):
            raise ValueError(
                f"the trials of cells {describe(first)} and {describe(grid.cell(number))} declare "
                f"different measures: {difference(*pair)}. Let all cells that share a measure have "
                "it at the same steps; only the end of a vector may be missing."
            )
    check_measures(grid.axes, measures)
    warn_of_padding([(counts[kind], own) for kind, (_, own) in kinds.items()], measures)
    sizes = {number: weight(grid.cell(number), trials[number]) for number in grid.corners()}
    heaviest = max(sizes, key=sizes.__getitem__)
    if sizes[heaviest] > HEAVY:
        LOG.warning(
            "the trial of cell %s takes %.0f MB to send to a worker, and each chunk at least as "
            "much; from %.0f MB on that is felt. Use less data, or larger chunks",
            describe(grid.cell(heaviest)),
            sizes[heaviest] / 1e6,
            HEAVY / 1e6,
        )
    names = [{*own, *vector_lengths(own)} for _, own in declared]
    partial = {name for name in measures if not all(name in own for own in names)} | lacking
    return measures, [name for name in measures if name in partial]


def joint(kinds: Sequence[Measures]) -> Measures:
    """Give the measures that hold all of these, where those of one name differ in length alone.

    Each dim along which they do gets a measure of its own, ``<dim>_length``: how many numbers of
    its vectors a cell has; behind them there is NaN.
    """
    longest: dict[str, tuple[float, ...]] = {}
    ragged: set[str] = set()
    for dims in (dims for kind in kinds for dims in kind.values()):
        for dim, values in dims.items():
            ragged |= {dim} if len(longest.setdefault(dim, values)) != len(values) else set()
            longest[dim] = max(longest[dim], values, key=len)
    vectors: Measures = {}
    for name, dims in (item for kind in kinds for item in kind.items()):
        vectors.setdefault(name, {dim: longest[dim] for dim in dims})
    return {**vectors, **{f"{dim}_length": {} for dim in sorted(ragged)}}


def fits(own: Measures, whole: Measures) -> bool:
    """Tell whether some measures are among the whole, but for the ends of vectors."""
    return all(
        name in whole
        and list(dims) == list(whole[name])
        and all(whole[name][dim][: len(values)] == values for dim, values in dims.items())
        for name, dims in own.items()
    )


def vector_lengths(measures: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, int]:
    """Give the length of each inner dim of a trial, by the name that a store keeps it under."""
    return {
        f"{dim}_length": len(values) for dims in measures.values() for dim, values in dims.items()
    }


def plain_measures(measures: Mapping[str, Mapping[str, tuple[float, ...]]]) -> Measures:
    """Copy declared measures into plain dictionaries of tuples of floats."""
    return {
        name: {dim: tuple(float(value) for value in values) for dim, values in inner.items()}
        for name, inner in measures.items()
    }


def difference(one: Measures, other: Measures) -> str:
    """Say where two sets of declared measures differ first."""
    for name in one:
        if name in other and one[name] != other[name]:
            lengths = [{dim: len(values) for dim, values in m[name].items()} for m in (one, other)]
            if lengths[0] != lengths[1]:
                return f"'{name}' has inner lengths {lengths[0]} and {lengths[1]}"
            return f"'{name}' has other coordinates along {', '.join(one[name])}"
    return "vectors of different measures share a dim, but not its coordinates"


def check_measures(axes: Mapping[str, Any], measures: Measures) -> None:
    """Refuse measures whose names or inner dims clash with axes, each other or the store."""
    if not measures:
        raise ValueError("the trials declare no measures; there would be nothing to store.")
    inner: dict[str, tuple[str, tuple[float, ...]]] = {}
    folded: dict[str, str] = {}
    for name in (*axes, *measures, *(dim for dims in measures.values() for dim in dims)):
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise ValueError(
                f"'{other}' and '{name}' differ in case only, and many file systems would take "
                "them for one; rename one."
            )
    for name, dims in measures.items():
        check_name("measure", name)
        if name in axes:
            raise ValueError(f"measure '{name}' is also an axis; rename one.")
        for dim, values in dims.items():
            check_name("inner dim", dim)
            if dim in axes or dim in measures:
                other = "an axis" if dim in axes else "a measure"
                raise ValueError(f"inner dim '{dim}' of '{name}' is also {other}; rename one.")
            if not values:
                raise ValueError(f"inner dim '{dim}' of '{name}' has no values; give it some.")
            owner, known = inner.setdefault(dim, (name, values))
            if known != values:
                raise ValueError(
                    f"measures '{owner}' and '{name}' give '{dim}' lengths {len(known)} and "
                    f"{len(values)}, or other values; name them apart."
                )


def warn_of_padding(kinds: Sequence[tuple[int, Measures]], whole: Measures) -> None:
    """Warn of vectors of which most is padding.

    Parameters
    ----------
    kinds : sequence of (int, measures)
        How many trials declare which measures.
    whole : measures
        Those of all together.
    """
    for name, dims in whole.items():
        owners = [(count, own[name]) for count, own in kinds if name in own]
        longest = math.prod(len(values) for values in dims.values())
        sizes = [math.prod(len(values) for values in inner.values()) for _, inner in owners]
        numbers = sum(n * size for (n, _), size in zip(owners, sizes, strict=True))
        stored = longest * sum(n for n, _ in owners)
        if stored > PADDED * numbers > 0:
            LOG.warning(
                "'%s' has %d to %d numbers a cell; padded to the longest it takes %.0f times as "
                "many as are measured. Give each length a measure or a sweep of its own",
                name,
                min(sizes),
                max(sizes),
                stored / numbers,
            )


def weight(cell: Mapping[str, Value], trial: Any) -> int:
    """Give the bytes of a trial on its way; refuse what no process can send: locks, files.

    Raises
    ------
    TypeError
        If it holds such a thing.
    """
    large: list[int] = []  # arrays, which are not copied to be counted
    try:
        small = pickle.dumps(
            trial, protocol=5, buffer_callback=lambda buffer: large.append(buffer.raw().nbytes)
        )
    except TypeError as error:
        raise TypeError(
            f"the trial of cell {describe(cell)} cannot be sent to workers: {error}; "
            "let it hold plain values only."
        ) from error
    except (pickle.PicklingError, AttributeError):
        return 0  # a class or function without an importable name: joblib sends those by value
    return len(small) + sum(large)
