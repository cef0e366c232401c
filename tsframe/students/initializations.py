"""Laws of the initial weights, each named after its author.

A law is a frozen dataclass called with the two fans of a layer and a generator; it gives the
weights with the biases as their last column. `gain` multiplies the standard deviation of the
weights.
"""

import math
from dataclasses import dataclass

import numpy as np

from tsframe.students.jacot2018 import Jacot2018

__all__ = ["Glorot2010", "He2015", "Initialization", "Jacot2018", "LeCun1998", "TorchDefault"]


def _check_gain(gain: float) -> None:
    if not (math.isfinite(gain) and gain > 0):
        raise ValueError(
            f"gain must be a positive number (a factor on the standard deviation); "
            f"got gain={gain!r}."
        )


def _normal(std: float, fan_in: int, fan_out: int, stream: np.random.Generator) -> np.ndarray:
    weights = std * stream.standard_normal((fan_out, fan_in))
    return np.concatenate([weights, np.zeros((fan_out, 1))], axis=1)


@dataclass(frozen=True)
class LeCun1998:
    """Normal weights of variance gain^2 / fan_in, zero biases.

    Source: LeCun, Bottou, Orr & Mueller 1998, section 4.6.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_gain(self.gain)

    def __call__(self, fan_in: int, fan_out: int, stream: np.random.Generator) -> np.ndarray:
        """Draw one layer, shape (fan_out, fan_in + 1), float64."""
        return _normal(self.gain / math.sqrt(fan_in), fan_in, fan_out, stream)


@dataclass(frozen=True)
class He2015:
    """Normal weights of variance 2 gain^2 / fan_in, zero biases.

    Source: He, Zhang, Ren & Sun 2015, Eq. 10.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_gain(self.gain)

    def __call__(self, fan_in: int, fan_out: int, stream: np.random.Generator) -> np.ndarray:
        """Draw one layer, shape (fan_out, fan_in + 1), float64."""
        return _normal(self.gain * math.sqrt(2.0 / fan_in), fan_in, fan_out, stream)


@dataclass(frozen=True)
class Glorot2010:
    """Uniform weights of variance 2 gain^2 / (fan_in + fan_out), zero biases.

    Source: Glorot & Bengio 2010, Eq. 16.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_gain(self.gain)

    def __call__(self, fan_in: int, fan_out: int, stream: np.random.Generator) -> np.ndarray:
        """Draw one layer, shape (fan_out, fan_in + 1), float64."""
        bound = self.gain * math.sqrt(6.0 / (fan_in + fan_out))
        weights = stream.uniform(-bound, bound, (fan_out, fan_in))
        return np.concatenate([weights, np.zeros((fan_out, 1))], axis=1)


@dataclass(frozen=True)
class TorchDefault:
    """Uniform weights and biases within gain / sqrt(fan_in): what torch.nn.Linear draws by default.

    The law of the published runs of Yang, Mao & Chaudhari 2022 (arXiv:2110.14163).
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _check_gain(self.gain)

    def __call__(self, fan_in: int, fan_out: int, stream: np.random.Generator) -> np.ndarray:
        """Draw one layer, shape (fan_out, fan_in + 1), float64."""
        bound = self.gain / math.sqrt(fan_in)
        return stream.uniform(-bound, bound, (fan_out, fan_in + 1))


Initialization = LeCun1998 | He2015 | Glorot2010 | TorchDefault | Jacot2018
