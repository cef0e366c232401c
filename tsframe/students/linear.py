"""Linear students: no hidden layer, no intercept, solved exactly."""

from dataclasses import dataclass

__all__ = ["Linear"]


@dataclass(frozen=True)
class Linear:
    """The linear map f(x) = W x without intercept, trained by `Ridge`.

    For a linear network that takes steps, and that has biases, use ``MLP(width=1, depth=0)``.

    Examples
    --------
    >>> Linear()
    Linear()
    """
