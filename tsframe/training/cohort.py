"""The students of a stack as their optimizer sees them: who they are and where their weights lie.

What differs from student to student - a learning rate, a radius, a temperature - is laid out here
so that it broadcasts to the weight tensors, and what concerns one student as a whole - the norm of
its gradient, its noise - is summed and drawn here, student by student.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tsframe.streams import stream
from tsframe.students.layout import Layout, VACANT
from tsframe.students.products import Products
from tsframe.students.sums import total
from tsframe.training.devices import upload

__all__ = ["Cohort", "Normals", "Scales"]

Scales = Sequence[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Cohort:
    """The students of a layout, with what each was asked.

    Attributes
    ----------
    layout : Layout
        Who sits where.
    weights : list of Tensor
        In the order of `layout.weight_shapes()`; an optimizer changes them in place.
    specs : sequence of Optimizer
        Of every student by its index, those without a seat included.
    seeds : sequence of int
        Seed of every data set.
    scales : sequence of sequence of (float, float), optional
        Factors on the learning rate, of the weights and the biases of every layer of every student;
        by default all are one.
    products : Products
        Who multiplies.
    """

    layout: Layout
    weights: list[Tensor]
    specs: Sequence[Any]
    seeds: Sequence[int]
    scales: Sequence[Scales] | None = None
    products: Products = field(default_factory=Products)

    @property
    def spec(self) -> Any:
        """What all specs have in common, where it is the same: that of the first student."""
        return self.specs[0]

    def gradient(
        self, index: int, left: Tensor, right: Tensor, out: Tensor | None = None
    ) -> Tensor:
        """Compute the gradient of weight tensor `index`, left @ right, into `out` if given."""
        if out is None:
            out = torch.empty_like(self.weights[index])
        return self.products.of_weights(index)(left, right, out)

    def numbers(self, read: Callable[[Any], float]) -> np.ndarray:
        """Give a number of every student, float64, shape (students,)."""
        return np.array([read(spec) for spec in self.specs], dtype=float)

    def lay(self, read: Callable[[Any], float]) -> list[Tensor]:
        """Lay out a number of every student, as `lay_numbers` does."""
        return self.lay_numbers(self.numbers(read))

    def lay_numbers(
        self, values: np.ndarray, out: list[Tensor] | None = None, vacant: float = 0.0
    ) -> list[Tensor]:
        """Lay out a number of every student so that it broadcasts to the weights.

        Parameters
        ----------
        values : ndarray, shape (students,)
            The numbers.
        out : list of Tensor, optional
            Laid out before: they are changed in place.
        vacant : float
            What vacant slots get.

        Returns
        -------
        list of Tensor, shapes (slots, rows, 1)
        """
        like = self.weights[0]
        numbers = upload(torch.from_numpy(np.append(values, vacant)).to(like.dtype), like.device)
        laid = out or [w.new_empty(*w.shape[:2], 1) for w in self.weights]
        for students, one in zip(self._students, laid, strict=True):
            torch.index_select(numbers, 0, students, out=one.view(-1))
        return laid

    def lay_rates(self, values: np.ndarray, out: list[Tensor] | None = None) -> list[Tensor]:
        """Lay out learning rates, with the factors of layers where there are any.

        Returns
        -------
        list of Tensor
            As `lay_numbers` gives them, or of the shapes of the weights.
        """
        if self._factors is None:
            return self.lay_numbers(values, out)
        rates = out or [torch.empty_like(w) for w in self.weights]
        laid = self.lay_numbers(values)
        for rate, one, factors in zip(rates, laid, self._factors, strict=True):
            torch.mul(factors, one, out=rate)
        return rates

    def lay_some(self, read: Callable[[Any], float]) -> list[Tensor] | None:
        """Lay out a number of every student, or give None where it is zero for all present."""
        present = self.layout.students
        return self.lay(read) if any(read(self.specs[k]) for k in present) else None

    def norms(self, tensors: list[Tensor]) -> list[Tensor]:
        """Give the Euclidean norm of what each student has in tensors that lie like the weights.

        Returns
        -------
        list of Tensor, shapes (groups, places)
            For each bucket; summed in float64.
        """
        views = self.layout.by_student(tensors)
        squares = (sum(total(t.double().square(), 2, 3) for t in layers) for layers in views)
        return [torch.as_tensor(square).sqrt() for square in squares]

    def of_students(self, read: Callable[[Any], float]) -> list[Tensor]:
        """Give a number of every student, float64, laid out as `norms`; zero in vacant slots."""
        values = self.numbers(read)
        device = self.weights[0].device
        return [
            torch.as_tensor(np.where(b.slots == VACANT, 0.0, values[b.slots]), device=device)
            for b in self.layout.buckets
        ]

    def add_(self, tensors: list[Tensor], others: list[Tensor], factors: list[Tensor]) -> None:
        """Add to what each student has in tensors a multiple of what it has in others.

        Factors are laid out as `norms`.
        """
        pairs = zip(self.layout.by_student(tensors), self.layout.by_student(others), strict=True)
        for factor, (layers, added) in zip(factors, pairs, strict=True):
            for layer, other in zip(layers, added, strict=True):
                layer.addcmul_(other, factor.to(layer.dtype)[:, :, None, None])

    @property
    def of_base(self) -> "Cohort":
        """The same students as the optimizer sees them that theirs is built on."""
        return replace(self, specs=[spec.base for spec in self.specs])

    @cached_property
    def _students(self) -> list[Tensor]:
        """The student of every row of every weight tensor; where vacant, one behind the last."""
        laid = [torch.empty(*w.shape[:2], 1, dtype=torch.int64) for w in self.weights]
        for bucket, layers in zip(self.layout.buckets, self.layout.by_student(laid), strict=True):
            here = np.where(bucket.slots == VACANT, len(self.specs), bucket.slots)
            for layer in layers:
                layer.copy_(torch.as_tensor(here)[:, :, None, None])
        return [one.flatten().to(self.weights[0].device) for one in laid]

    @cached_property
    def _factors(self) -> list[Tensor] | None:
        """The factors on learning rates, in the shapes of the weights."""
        if self.scales is None:
            return None
        laid = [torch.zeros_like(w) for w in self.weights]
        for bucket, layers in zip(self.layout.buckets, self.layout.by_student(laid), strict=True):
            for (group, place), student in np.ndenumerate(bucket.slots):
                factors = self.scales[student] if student != VACANT else ()
                for layer, (weights, biases) in zip(layers, factors, strict=student != VACANT):
                    layer[group, place, :, :-1] = weights
                    layer[group, place, :, -1] = biases
        return laid

    @cached_property
    def seats(self) -> list[list[tuple[int, int, int, int]]]:
        """For each bucket, (group, place, student, seed) of those present."""
        return [
            [
                (group, place, int(student), self.seeds[int(self.layout.data[group])])
                for (group, place), student in np.ndenumerate(bucket.slots)
                if student != VACANT
            ]
            for bucket in self.layout.buckets
        ]


class Normals:
    """Standard normals for every student, from a stream of its own, step after step.

    They hang on the seed, the role and how many the student has drawn before, never on its seat:
    they go on where they were when students move.

    Parameters
    ----------
    role : str
        What they are for; see `tsframe.streams.stream`.
    *keys : int
        Further indices.
    """

    def __init__(self, role: str, *keys: int) -> None:
        self._role, self._keys = role, keys
        self._streams: dict[int, np.random.Generator] = {}

    def fill_(self, cohort: Cohort, tensors: list[Tensor]) -> None:
        """Fill tensors that lie like the weights; vacant slots get zeros."""
        views = cohort.layout.by_student(tensors)
        for seats, layers in zip(cohort.seats, views, strict=True):
            for layer in layers:
                drawn = np.zeros(layer.shape, dtype=np.float32)
                for group, place, student, seed in seats:
                    if student not in self._streams:
                        self._streams[student] = stream(seed, self._role, *self._keys)
                    self._streams[student].standard_normal(
                        dtype=np.float32, out=drawn[group, place]
                    )
                layer.copy_(upload(torch.from_numpy(drawn), layer.device))
