"""Ridge regression: training that is solved exactly instead of step by step."""

from dataclasses import dataclass

from tsframe.checks import real_number

__all__ = ["Ridge"]


@dataclass(frozen=True)
class Ridge:
    """Minimize the sum of squares + penalty * ||w||^2, without intercept, exactly.

    The convention of `tsframe.theory.ridge`: the sum over rows is *not* divided by n_train, and has
    no factor 1/2. For classes it runs over the one-hot labels (0 and 1, not centered), one output a
    class; an error is a wrong argmax. Centering would add one function to all outputs and change no
    argmax; two classes give the sign of the regression on labels +-1. Solved in float64.

    Parameters
    ----------
    penalty : float
        On the squared norm of the weights, or of the function in the space of the kernel, >= 0.
        Zero is the limit of small penalties: of all students that fit best, the one of least norm.

    Raises
    ------
    TypeError, ValueError
        If the penalty is refused.

    Examples
    --------
    >>> Ridge()
    Ridge(penalty=0.0)
    """

    penalty: float = 0.0

    def __post_init__(self) -> None:
        sentence = (
            f"penalty must be a finite number >= 0; got penalty={self.penalty!r}. Use 0 for the "
            "student of least norm."
        )
        object.__setattr__(self, "penalty", real_number(self.penalty, sentence))
