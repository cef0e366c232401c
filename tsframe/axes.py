"""An axis is a named list of values: all floats, all integers, all booleans or all strings.

What a user passes as an axis becomes plain Python values here, or is refused with a sentence: a
value must come back from the store as it went in, and no two values may be too close to tell
apart.
"""

import itertools
import keyword
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

__all__ = ["Value", "axis_values", "check_name", "describe"]

Value: TypeAlias = float | int | bool | str

TAKEN = {
    *("ledger", "error", "entry", "runs", "state", "method"),  # names of the store
    *("student", "diverged"),  # names of the batched call
}
KINDS = "an axis holds all floats, all integers, all booleans or all strings"


def check_name(kind: str, name: Any) -> None:
    """Refuse a name that Python, xarray, zarr or a file system would trip over."""
    if not isinstance(name, str):
        raise TypeError(f"{kind} {name!r} is a {type(name).__name__}; a name is a string.")
    for mark, harm in (
        ("/", "xarray would drop it without error"),
        (".", "zarr splits keys there"),
    ):
        if mark in name:
            raise ValueError(f"{kind} '{name}': \"{mark}\" is not allowed ({harm}); use _ instead.")
    if (
        not name.isidentifier()
        or keyword.iskeyword(name)
        or name.startswith("_")
        or len(name) > 100
    ):
        raise ValueError(
            f"{kind} '{name}' is no usable name; take a Python identifier of at most "
            "100 characters that does not begin with _."
        )
    if name in TAKEN:
        raise ValueError(f"{kind} '{name}' has a name that tsframe uses itself; rename it.")


def axis_values(name: str, values: Iterable[Any]) -> tuple[Value, ...]:
    """Turn what the user passed for an axis into Python values of one kind, or refuse it."""
    check_name("axis", name)
    if isinstance(values, str | bytes):
        raise TypeError(f"axis '{name}' is the bare string {values!r}; pass a list, [{values!r}].")
    if isinstance(values, set | frozenset | Mapping):
        order = "which has no order" if isinstance(values, set | frozenset) else "not a list"
        raise TypeError(
            f"axis '{name}' is a {type(values).__name__}, {order}; pass a list of its values."
        )
    if not isinstance(values, Iterable):
        raise TypeError(f"axis '{name}' is the single value {values!r}; pass a list, [{values!r}].")
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise TypeError(
            f"axis '{name}' is an array with {values.ndim} dimensions; pass one with 1 dimension."
        )
    items = [item.item() if isinstance(item, np.generic) else item for item in values]
    if not items:
        raise ValueError(f"axis '{name}' has no values; give it at least one.")
    kind = type(items[0])
    for position, item in enumerate(items):
        if type(item) not in (float, int, bool, str):
            raise TypeError(f"axis '{name}': {item!r} at position {position}; {KINDS}.")
        if type(item) is not kind:
            raise TypeError(
                f"axis '{name}': {items[0]!r} at position 0 is of type {kind.__name__} and "
                f"{item!r} at position {position} of type {type(item).__name__}; {KINDS}."
            )
        check_value(name, position, item)
    check_distinct(name, items)
    return tuple(items)


def check_value(axis: str, position: int, value: Value) -> None:
    """Refuse a value that would not come back from the store as it went in."""
    if isinstance(value, str):
        ill = (
            "is empty" if not value else
            "holds NUL" if "\0" in value else
            "holds a surrogate" if any("\ud800" <= letter <= "\udfff" for letter in value) else
            "has more than 255 bytes" if len(value.encode()) > 255 else ""
        )  # fmt: skip
        if ill:
            raise ValueError(f"axis '{axis}': {value!r} at position {position} {ill}; rename it.")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"axis '{axis}': {value!r} at position {position}; values must be finite.")
    elif type(value) is int and (not -(2**63) <= value < 2**63 or int(float(value)) != value):
        raise ValueError(
            f"axis '{axis}': {value} does not fit float64 exactly; integers up to 2**53 do."
        )
    if axis == "seed" and (type(value) is not int or value < 0):
        raise ValueError(f"axis 'seed' holds {value!r}; seeds are integers >= 0.")


def check_distinct(axis: str, values: Sequence[Value]) -> None:
    """Refuse values that are equal, or that nobody could tell apart."""
    first: dict[Value, int] = {}
    for position, value in enumerate(values):
        same = unicodedata.normalize("NFKC", value).casefold() if isinstance(value, str) else value
        if same in first:
            other = values[first[same]]
            also = "" if repr(other) == repr(value) else f" (there as {other!r})"
            raise ValueError(
                f"axis '{axis}': {value!r} stands at positions {first[same]} and {position}{also}; "
                "keep one."
            )
        first[same] = position
    if isinstance(values[0], float):
        ordered = sorted(float(value) for value in values)
        for low, high in itertools.pairwise(ordered):
            if high - low <= 1e-9 * max(abs(low), abs(high)):
                ulps = round((high - low) / math.ulp(low))
                raise ValueError(
                    f"axis '{axis}': {low!r} and {high!r} differ by {ulps} ulp; keep one."
                )


def describe(cell: Mapping[str, Value]) -> str:
    """Name a cell in words.

    Examples
    --------
    >>> describe({"slope": 0.1, "seed": 0})
    '(slope=0.1, seed=0)'
    """
    return "(" + ", ".join(f"{name}={value!r}" for name, value in cell.items()) + ")"
