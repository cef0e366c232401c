"""Norms of the weights of a stack of students."""

import numpy as np
import torch

from tsframe.students.layout import VACANT
from tsframe.students.stack import Stack
from tsframe.students.sums import total

__all__ = ["distance", "weight_norm"]


def weight_norm(stack: Stack, students: int) -> np.ndarray:
    """Euclidean norm of all weights and biases of each student.

    Parameters
    ----------
    stack : Stack
        The students.
    students : int
        Length of the result; students without a seat get NaN.

    Returns
    -------
    ndarray, shape (students,)
        float64, summed in float64.
    """
    result = np.full(students, np.nan)
    views = stack.layout.by_student(stack.weights)
    for bucket, layers in zip(stack.layout.buckets, views, strict=True):
        squares = sum(total(layer.double().square(), 2, 3) for layer in layers)
        seated = bucket.slots != VACANT
        result[bucket.slots[seated]] = torch.as_tensor(squares).sqrt().cpu().numpy()[seated]
    return result


def distance(stack: Stack, other: Stack, students: int) -> np.ndarray:
    """Euclidean distance between the weights of each student in two stacks of one layout.

    Parameters
    ----------
    stack, other : Stack
        E.g. the end of training and the initialization.
    students : int
        Length of the result; students without a seat get NaN.

    Returns
    -------
    ndarray, shape (students,)
        float64.
    """
    steps = [a.double() - b.double() for a, b in zip(stack.weights, other.weights, strict=True)]
    return weight_norm(Stack(stack.layout, stack.activation, steps), students)
