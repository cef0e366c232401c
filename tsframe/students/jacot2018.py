"""The NTK parametrization (Jacot, Gabriel & Hongler 2018): what tends to a kernel as width grows.

Layers compute z = sqrt(weight_variance / fan_in) W h + sqrt(bias_variance) b; W and b start as
standard normals, and all have one learning rate. A stack holds the products U = sqrt(...) W
instead, whose gradient steps are the same if their learning rates carry the squares of these
factors. So a law of initial weights and of rates is all it takes, in any engine of plain descent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsframe.checks import real_number

__all__ = ["Jacot2018"]


@dataclass(frozen=True)
class Jacot2018:
    """Normal weights of variance weight_variance / fan_in, and learning rates to match.

    Gradient descent on such a student is that of the NTK parametrization, whose tangent kernel has
    a limit of infinite width: `NTK(depth, activation, weight_variance, bias_variance)`. Without
    variance biases stay at zero: the network has none. Its outputs are output_scale times those of
    the network of scale one, and all rates are divided by output_scale^2 (Chizat, Oyallon & Bach
    2019, arXiv:1812.07956, equation 3), so that in the lazy limit of a large scale the outputs move
    as fast as at scale one, along the linearized model.

    Parameters
    ----------
    weight_variance, bias_variance : float
        Variance of the weights of a unit times its number of inputs, > 0, and of its bias, >= 0.
    output_scale : float
        alpha, > 0. Small is rich, large is lazy.
    mirrored : bool
        Whether hidden units come in pairs with opposite readouts, so that all outputs are zero at
        initialization, up to rounding, at the same tangent kernel in the limit. Takes an even width
        and a hidden layer.

    Raises
    ------
    TypeError, ValueError
        If a value is refused.

    Examples
    --------
    >>> Jacot2018(weight_variance=2.0, output_scale=10.0).rates([50, 100])
    ((0.0004, 0.0), (0.02, 0.0))
    """

    weight_variance: float = 2.0
    bias_variance: float = 0.0
    output_scale: float = 1.0
    mirrored: bool = False

    def __post_init__(self) -> None:
        for name, strict, advice in (
            ("weight_variance", True, "It is 2 for ReLUs whose scale shall not change with depth."),
            ("bias_variance", False, "Use 0 for a network without biases."),
            ("output_scale", True, "Small is rich, large is lazy."),
        ):
            value = getattr(self, name)
            bound = ">" if strict else ">="
            sentence = f"{name} must be a number {bound} 0; got {name}={value!r}. {advice}"
            object.__setattr__(self, name, real_number(value, sentence, strict))
        if not isinstance(self.mirrored, bool | np.bool_):
            raise TypeError(f"mirrored must be True or False; got mirrored={self.mirrored!r}.")
        object.__setattr__(self, "mirrored", bool(self.mirrored))

    def __call__(self, fan_in: int, fan_out: int, stream: np.random.Generator) -> np.ndarray:
        """Draw one layer, shape (fan_out, fan_in + 1), float64, at output scale one."""
        weights = stream.standard_normal((fan_out, fan_in)) * math.sqrt(
            self.weight_variance / fan_in
        )
        biases = stream.standard_normal((fan_out, 1)) * math.sqrt(self.bias_variance)
        return np.concatenate([weights, biases], axis=1)

    def check_shape(self, width: int, depth: int) -> None:
        """Refuse a shape that cannot be mirrored.

        Raises
        ------
        ValueError
            If it has an odd width or no hidden layer.
        """
        if self.mirrored and (width % 2 or depth == 0):
            raise ValueError(
                "mirrored=True pairs hidden units: it takes an even width and a hidden layer; got "
                f"width={width}, depth={depth}."
            )

    def joined(self, weights: list[np.ndarray]) -> list[np.ndarray]:
        """Mirror drawn layers if asked to, and scale the readout.

        Mirrored, unit k of a hidden layer and unit k + width / 2 have the same value at all inputs.
        A matrix between hidden layers is made of quarters [[A, B], [B, A]]: what goes forward sees
        A + B, what comes back from opposite readouts A - B, independent of it and as large.
        """
        if self.mirrored:
            half = len(weights[0]) // 2
            weights = [layer.copy() for layer in weights]
            for layer in weights[:-1]:
                layer[half:] = layer[:half]
            for layer in weights[1:-1]:
                layer[half:, :half], layer[half:, half:-1] = (
                    layer[:half, half:-1],
                    layer[:half, :half],
                )
            weights[-1][:, half:-1] = -weights[-1][:, :half]
            weights[-1][:, -1] = 0.0
        return [*weights[:-1], weights[-1] * self.output_scale]

    def rates(self, fans: Sequence[int]) -> tuple[tuple[float, float], ...]:
        """Give factors on the learning rate, of the weights and the biases of every layer.

        Parameters
        ----------
        fans : sequence of int
            Inputs of every layer.

        Returns
        -------
        tuple of (float, float)
            From the first layer to the readout.
        """
        last, squared = len(fans) - 1, self.output_scale**2
        return tuple(
            (
                self.weight_variance / fan / (1.0 if layer == last else squared),
                self.bias_variance / (1.0 if layer == last else squared),
            )
            for layer, fan in enumerate(fans)
        )
