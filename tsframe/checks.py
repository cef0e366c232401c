"""What counts as a number in a spec; its owner words the sentence that refuses all else."""

import math

import numpy as np

__all__ = ["real_number", "whole_number"]


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
