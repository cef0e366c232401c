"""What counts as a number in a spec, and how a spec tells itself.

The owner of a number words the sentence that refuses all else.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import field, fields
from typing import Any

import numpy as np

__all__ = [
    "check_steps_asked",
    "later",
    "plain_numbers",
    "real_number",
    "repr_of",
    "steps_asked",
    "whole",
    "whole_number",
]


def check_steps_asked(name: str, steps: Sequence[int], budget: int | None) -> None:
    """Refuse steps of training at which nothing can be looked at.

    Parameters
    ----------
    name : str
        Of the field, for the sentence.
    steps : sequence of int
        What came.
    budget : int or None
        Steps that training may take, if it takes any.

    Raises
    ------
    ValueError
        If they do not ascend from 0 or later, or pass the budget.
    """
    if list(steps) != sorted(set(steps)) or (steps and steps[0] < 0):
        raise ValueError(f"{name} must be ascending integers >= 0; got {tuple(steps)!r}.")
    if steps and budget is not None and steps[-1] > budget:
        raise ValueError(f"{name} must not pass max_steps={budget}; got {steps[-1]}.")


def steps_asked(name: str, steps: object) -> tuple[int, ...]:
    """Give steps of training as a tuple of integers; whole floats are taken, too.

    Raises
    ------
    TypeError
        If they are no list of whole numbers.
    """
    found = None if isinstance(steps, str) or not isinstance(steps, Iterable) else tuple(steps)
    numbers = int | float | np.integer | np.floating
    if found is None or any(not isinstance(s, numbers) or s != s // 1 for s in found):
        raise TypeError(f"{name} must be a list of whole numbers, e.g. [0, 100]; got {steps!r}.")
    return tuple(int(step) for step in found)


def later(default: Any) -> Any:
    """Make a field that a spec gained later: its repr tells of it only when it is not `default`.

    So trials that never heard of the field keep their repr, which is what a store knows them by.
    """
    return field(default=default, metadata={"later": True})


def repr_of(spec: Any) -> str:
    """Tell a dataclass as its constructor call, but for later fields that keep their default."""
    told = [
        f"{one.name}={getattr(spec, one.name)!r}"
        for one in fields(spec)
        if one.repr and not ("later" in one.metadata and getattr(spec, one.name) == one.default)
    ]
    return f"{type(spec).__qualname__}({', '.join(told)})"


def plain_numbers(spec: Any) -> None:
    """Turn the NumPy numbers among the fields of a frozen dataclass into those of Python.

    So 0.1 and np.float64(0.1) make specs of one repr, which is what a store knows them by.
    """
    for one in fields(spec):
        value = getattr(spec, one.name)
        if isinstance(value, np.generic):
            object.__setattr__(spec, one.name, value.item())


def real_number(value: object, sentence: str, strict: bool = False) -> float:
    """Give a finite number that is not negative, with `strict` not zero either, as a float.

    Raises
    ------
    TypeError
        With the sentence, if it is no number.
    ValueError
        With the sentence, if it is another number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(sentence)
    number = float(value)
    if not math.isfinite(number) or number < 0.0 or (strict and number == 0.0):
        raise ValueError(sentence)
    return number


def whole_number(value: object, low: int, sentence: str) -> int:
    """Give a whole number of at least `low` as an int.

    Raises
    ------
    TypeError
        With the sentence, if it is no whole number.
    ValueError
        With the sentence, if it is a lower one.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(sentence)
    if value < low:
        raise ValueError(sentence)
    return int(value)


def whole(name: str, value: object, low: int) -> int:
    """Give a whole number of at least `low` as an int, or refuse it by name.

    What is refused, and how, `whole_number` says.
    """
    sentence = f"{name} must be a whole number >= {low}; got {name}={value!r}."
    return whole_number(value, low, sentence)
