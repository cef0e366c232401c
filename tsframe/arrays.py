"""Real data as a task: rows of an array for inputs, and labels of their own.

`ArrayInputs` holds the rows; a trial draws its training and test sample from them, without
replacement, by its seed. Any teacher may label them; `OwnLabels` takes the labels that came with
them. The data are known by their digest: equal arrays are equal inputs, in every process and in the
provenance of a store.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsframe.checks import whole
from tsframe.streams import stream

__all__ = ["ArrayInputs", "OwnLabels", "check_rows"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, init=False, repr=False)
class ArrayInputs:
    """Rows of an array as inputs.

    A sample is drawn without replacement: the training rows of a seed are the first of a random
    order of all rows, its test rows the last. So they have no row in common as long as n_train +
    n_test is at most the number of rows, and a longer training sample begins with the shorter one.
    The inputs are used as they are; center or scale them before, if that is wanted.

    Parameters
    ----------
    x : array_like, shape (rows, dim)
        One input a row, finite; a copy is kept as float64.
    y : array_like, shape (rows,), optional
        Labels of the rows: integers 0..classes-1, or floats for regression. Needed by `OwnLabels`
        alone.

    Attributes
    ----------
    x : ndarray, shape (rows, dim)
        Read-only.
    y : ndarray, shape (rows,), or None
        Read-only, int64 or float64.
    digest : str
        sha256 over shapes and bytes of both; decides equality and hash.

    Raises
    ------
    TypeError, ValueError
        If the arrays do not fit, or are not finite numbers.

    Examples
    --------
    >>> inputs = ArrayInputs([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1])
    >>> inputs
    ArrayInputs(3 rows, dim 2, labeled, sha256 5c1a0fec9e24)
    >>> inputs.draw(2, seed=0, role="train inputs").shape
    (2, 2)
    """

    x: Floats
    y: NDArray[np.int64] | Floats | None
    digest: str

    def __init__(self, x: ArrayLike, y: ArrayLike | None = None) -> None:
        rows = checked("x", x, 2).astype(np.float64)
        labels = None
        if y is not None:
            labels = checked("y", y, 1)
            labels = labels.astype(np.int64 if labels.dtype.kind in "iu" else np.float64)
            if len(labels) != len(rows):
                raise ValueError(
                    f"x and y must have the same number of rows; got {len(rows)} and {len(labels)}."
                )
        digest = hashlib.sha256()
        for array in (rows, labels):
            if array is not None:
                array.flags.writeable = False
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        for name, value in (("x", rows), ("y", labels), ("digest", digest.hexdigest())):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        labeled = ", labeled" if self.y is not None else ""
        rows, dim = self.x.shape
        return f"ArrayInputs({rows} rows, dim {dim}{labeled}, sha256 {self.digest[:12]})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayInputs) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def dim(self) -> int:
        """Number of input coordinates."""
        return int(self.x.shape[1])

    @property
    def key(self) -> str:
        """The digest: equal data have one."""
        return self.digest

    @property
    def eigenvalues(self) -> Floats:
        """Eigenvalues of the second moment x.T x / rows, shape (dim,), descending."""
        return self._eigen[0]

    def basis(self, seed: int) -> Floats:
        """Give the eigenvectors of the second moment as columns, the same for every seed."""
        return self._eigen[1]

    def moments(self, seed: int) -> tuple[Floats, Floats]:
        """Give mean and variance of every coordinate over all rows, shapes (dim,)."""
        return self.x.mean(axis=0), self.x.var(axis=0)

    @cached_property
    def _eigen(self) -> tuple[Floats, Floats]:
        _, singular, vectors = np.linalg.svd(self.x, full_matrices=True)
        values = np.zeros(self.dim)
        values[: len(singular)] = singular**2 / len(self.x)
        signs = np.sign(vectors[np.arange(self.dim), np.abs(vectors).argmax(axis=1)])
        basis = np.ascontiguousarray((vectors * signs[:, None]).T)
        values.flags.writeable = basis.flags.writeable = False
        return values, basis

    def rows(self, n: int, seed: int, role: str) -> NDArray[np.intp]:
        """Give the numbers of the rows of a sample, shape (n,).

        Parameters
        ----------
        n : int
            Number of rows, >= 1.
        seed : int
            Seed of the trial, >= 0.
        role : str
            ``"train inputs"`` or ``"test inputs"``; a sample of any other role is drawn with
            replacement, from all rows.

        Raises
        ------
        ValueError
            If a sample without replacement is larger than the data.
        """
        n = whole("n", n, 1)
        if role not in ("train inputs", "test inputs"):
            return stream(seed, role).integers(len(self.x), size=n).astype(np.intp)
        if n > len(self.x):
            raise ValueError(
                f"the data have {len(self.x)} rows, and a sample without replacement has no more; "
                f"got n={n}. Use fewer samples."
            )
        order = stream(seed, "rows").permutation(len(self.x))
        return order[:n] if role == "train inputs" else order[::-1][:n]

    def draw(self, n: int, seed: int, role: str) -> Floats:
        """Draw a sample of inputs, shape (n, dim); see `rows`."""
        return self.x[self.rows(n, seed, role)]

    def project(self, maps: Floats, n: int, seed: int, role: str) -> Floats:
        """Give the products of a sample with maps in the eigenbasis, shape (maps, n)."""
        return (maps @ self.basis(seed).T) @ self.draw(n, seed, role).T

    def labels(self, n: int, seed: int, role: str) -> NDArray[np.int64] | Floats:
        """Give the labels that came with the rows of a sample, shape (n,).

        Raises
        ------
        ValueError
            If the data have none.
        """
        if self.y is None:
            raise ValueError(f"{self!r} has no labels; pass them: ArrayInputs(x, y).")
        drawn: NDArray[np.int64] | Floats = self.y[self.rows(n, seed, role)]
        return drawn

    def check_samples(self, n_train: int, n_test: int) -> None:
        """Refuse samples that would have rows in common.

        Raises
        ------
        ValueError
            If they are more than the data.
        """
        if n_train + n_test > len(self.x):
            raise ValueError(
                f"n_train + n_test must be at most the {len(self.x)} rows of the data, so that no "
                f"row is in both; got {n_train} + {n_test}. Lower one of them. (Rows for "
                "validation count with n_train.)"
            )


@dataclass(frozen=True)
class OwnLabels:
    """The teacher that gives every row the label it came with; for `ArrayInputs` alone.

    The labels are taken as the truth: test_error is measured against them, and ``label_noise``
    redraws training labels as for any teacher of classes.

    Parameters
    ----------
    classes : int, optional
        Number of classes, >= 2; None for regression.

    Examples
    --------
    >>> OwnLabels(classes=10).outputs
    10
    """

    classes: int | None = None

    def __post_init__(self) -> None:
        if self.classes is not None:
            object.__setattr__(self, "classes", whole("classes", self.classes, 2))

    @property
    def outputs(self) -> int:
        """Number of outputs of a student: the classes, or 1."""
        return self.classes or 1

    def check_inputs(self, inputs: object) -> ArrayInputs:
        """Give inputs whose labels are of these classes, or refuse them.

        Raises
        ------
        TypeError
            If the inputs are no array with labels of this kind.
        ValueError
            If a label is no class.
        """
        if not isinstance(inputs, ArrayInputs) or inputs.y is None:
            raise TypeError(
                f"OwnLabels needs inputs with labels, ArrayInputs(x, y); got {inputs!r}. Use "
                "another teacher for inputs that have none."
            )
        whole_numbers = inputs.y.dtype.kind == "i"
        if whole_numbers != (self.classes is not None):
            raise TypeError(
                f"OwnLabels(classes={self.classes}) does not fit labels of {inputs.y.dtype}: "
                "integers are classes and need their number, floats are regression."
            )
        if self.classes is not None and not 0 <= inputs.y.min() <= inputs.y.max() < self.classes:
            raise ValueError(
                f"labels must be classes 0..{self.classes - 1}; got {inputs.y.min()} to "
                f"{inputs.y.max()}. Number them from zero, or raise classes."
            )
        return inputs


def check_rows(inputs: object, teacher: object, n_train: int, n_test: int) -> None:
    """Refuse samples of real data that cannot be drawn, e.g. while a trial is built.

    Parameters
    ----------
    inputs, teacher : object
        Only `ArrayInputs` and `OwnLabels` are looked at.
    n_train, n_test : int
        Sizes of the two samples.
    """
    if isinstance(teacher, OwnLabels):
        teacher.check_inputs(inputs)
    if isinstance(inputs, ArrayInputs):
        inputs.check_samples(n_train, n_test)


def checked(name: str, values: ArrayLike, dims: int) -> NDArray[np.generic]:
    """Copy an array of finite numbers with so many dims, or refuse it by name."""
    array = np.array(values)
    if array.dtype.kind not in "iufb" or array.ndim != dims or not array.size:
        shape = "(rows, dim)" if dims == 2 else "(rows,)"
        raise TypeError(
            f"{name} must be numbers of shape {shape}; got {array.dtype} of shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; got {int((~np.isfinite(array)).sum())} others.")
    return array
