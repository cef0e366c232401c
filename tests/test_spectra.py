import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast, TypeAlias

import numpy as np
import pytest

from tsframe.spectra import (
    Isotropic,
    Measured,
    PowerLaw,
    Sloppy,
    SloppyAsCleaned2024,
    SloppyAsReleased2022,
    Spectrum,
    Spiked,
)

Law: TypeAlias = Isotropic | Sloppy | PowerLaw | Spiked | Measured
ROUNDING = 1e-10  # relative, float64
DIM = 200

NORMALIZED: list[Law] = [
    Isotropic(),
    Sloppy(0.0),
    Sloppy(0.001),
    Sloppy(0.1, floor=0.01),
    Sloppy(50.0),
    PowerLaw(0.0),
    PowerLaw(1.5),
    PowerLaw(300.0),
    PowerLaw(1.0, log_exponent=2.0),
    Spiked(()),
    Spiked((3.0, 30.0, 0.1)),
    Measured(tuple(float(k) for k in range(1, DIM + 1))),
]
PUBLISHED: list[Spectrum] = [
    SloppyAsReleased2022(0.001),
    SloppyAsReleased2022(5.0),
    SloppyAsCleaned2024(0.0),
    SloppyAsCleaned2024(0.5),
]
FAMILIES: list[Spectrum] = [*NORMALIZED, *PUBLISHED]


def name(spectrum: Spectrum) -> str:
    return repr(spectrum)[:40]


@pytest.mark.parametrize("spectrum", FAMILIES, ids=name)
def test_eigenvalues_are_positive_finite_and_descending(spectrum: Spectrum) -> None:
    eigenvalues = spectrum(DIM)
    assert eigenvalues.shape == (DIM,)
    assert eigenvalues.dtype == np.float64
    assert np.all(eigenvalues > 0)
    assert np.all(np.isfinite(eigenvalues))
    assert np.all(np.diff(eigenvalues) <= 0)


@pytest.mark.parametrize("trace", [None, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("law", NORMALIZED, ids=name)
def test_eigenvalues_sum_to_the_trace(law: Law, trace: float | None) -> None:
    total = replace(law, trace=trace)(DIM).sum()
    assert total == pytest.approx(DIM if trace is None else trace, rel=ROUNDING)


@pytest.mark.parametrize("spectrum", FAMILIES, ids=name)
def test_a_spec_is_a_value(spectrum: Spectrum) -> None:
    assert pickle.loads(pickle.dumps(spectrum)) == spectrum
    assert eval(repr(spectrum)) == spectrum
    assert hash(eval(repr(spectrum))) == hash(spectrum)
    assert np.array_equal(spectrum(DIM), spectrum(DIM))


@pytest.mark.parametrize("slope", [1e-3, 0.01, 0.1, 0.5, 2.0])
def test_an_exponential_spectrum_has_its_slope(slope: float) -> None:
    eigenvalues = Sloppy(slope)(100)
    np.testing.assert_allclose(-np.diff(np.log(eigenvalues)), slope, rtol=1e-9)


@pytest.mark.parametrize("slope", [1e-3, 0.01, 0.1, 0.5])
def test_an_exponential_spectrum_obeys_its_closed_forms(slope: float) -> None:
    eigenvalues = Sloppy(slope)(DIM)
    geometric_sum = (1 - math.exp(-slope * DIM)) / (1 - math.exp(-slope))
    assert eigenvalues[0] == pytest.approx(DIM / geometric_sum, rel=ROUNDING)
    effective_dim = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    closed_form = math.tanh(slope * DIM / 2) / math.tanh(slope / 2)
    assert effective_dim == pytest.approx(closed_form, rel=1e-9)


def test_slope_and_floor_are_separate_knobs() -> None:
    eigenvalues = Sloppy(0.5, floor=0.01)(DIM)
    bulk = eigenvalues[-1]
    np.testing.assert_allclose(eigenvalues[100:], bulk, rtol=ROUNDING)
    np.testing.assert_allclose(
        -np.diff(np.log(eigenvalues[:20] - bulk)), 0.5, rtol=1e-5
    )  # bulk known to 1e-16 of the head
    assert eigenvalues[0] / bulk == pytest.approx(101.0, rel=ROUNDING)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.5])
def test_a_power_law_has_its_exponent(exponent: float) -> None:
    logs = np.log(PowerLaw(exponent)(DIM))
    measured = -np.diff(logs) / np.diff(np.log(np.arange(1, DIM + 1)))
    np.testing.assert_allclose(measured, exponent, rtol=1e-9)


def test_spikes_are_ratios_to_the_bulk() -> None:
    eigenvalues = Spiked((3.0, 30.0, 0.1))(DIM)
    np.testing.assert_allclose(eigenvalues[:2] / eigenvalues[50], [30.0, 3.0], rtol=ROUNDING)
    assert eigenvalues[-1] / eigenvalues[50] == pytest.approx(0.1, rel=ROUNDING)


def test_a_measured_spectrum_keeps_its_shape() -> None:
    measured = np.random.default_rng(0).exponential(size=DIM)
    eigenvalues = Measured(tuple(measured), trace=float(measured.sum()))(DIM)
    np.testing.assert_allclose(eigenvalues, np.sort(measured)[::-1], rtol=ROUNDING)


# Traces at dim 200, computed from the authors' formulas apart from this code; 2-3 digits.
def test_a_log_exponent_corrects_the_power_law_by_its_logarithm() -> None:
    corrected, plain = PowerLaw(1.3, log_exponent=2.5)(DIM), PowerLaw(1.3)(DIM)
    ratio = corrected / plain * plain[0] / corrected[0]
    np.testing.assert_allclose(ratio, (1 + np.log(np.arange(1, DIM + 1))) ** -2.5, rtol=ROUNDING)
    assert PowerLaw(1.3, log_exponent=0.0)(DIM).tolist() == plain.tolist()


@pytest.mark.parametrize(
    ("rate", "trace"),
    [
        (0.001, 0.00206),
        (0.005, 0.027),
        (0.01, 0.062),
        (0.05, 0.328),
        (0.1, 0.690),
        (0.5, 4.94),
        (1.0, 14.5),
    ],
)
def test_the_trace_of_the_released_recipe_grows_with_its_rate(rate: float, trace: float) -> None:
    eigenvalues = SloppyAsReleased2022(rate)(DIM)
    assert eigenvalues.sum() == pytest.approx(trace, rel=1e-2)
    assert np.log(eigenvalues[0] / eigenvalues[10]) == pytest.approx(20 * rate, rel=1e-9)


@pytest.mark.parametrize(
    ("slope", "trace"), [(0.0, 1.0), (0.001, 0.0453), (0.01, 0.217), (0.1, 0.263), (0.5, 0.318)]
)
def test_the_trace_of_the_cleaned_recipe_moves_with_its_slope(slope: float, trace: float) -> None:
    eigenvalues = SloppyAsCleaned2024(slope)(DIM)
    assert eigenvalues.sum() == pytest.approx(trace, rel=1e-2)
    assert np.log(eigenvalues[0] / eigenvalues[10]) == pytest.approx(10 * slope, rel=1e-9)


def test_numpy_scalars_become_python_numbers() -> None:
    given: dict[str, Any] = {
        "slope": np.float64(0.1),
        "floor": np.float32(0.5),
        "trace": np.int64(3),
    }
    assert repr(Sloppy(**given)) == "Sloppy(slope=0.1, floor=0.5, trace=3.0)"
    assert Sloppy(**given) == Sloppy(0.1, 0.5, trace=3.0)
    dim: Any = np.int64(5)
    assert np.array_equal(Sloppy(0.1)(dim), Sloppy(0.1)(5))
    eigenvalues: Any = np.array([2.0, 1.0])
    assert Measured(eigenvalues) == Measured((2.0, 1.0))


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            lambda: Sloppy(slope=-0.1),
            "slope must be a number >= 0 (natural log per mode); got slope=-0.1. "
            "Use 0 for an isotropic spectrum.",
        ),
        (lambda: Sloppy(slope=math.nan), "got slope=nan"),
        (lambda: Sloppy(slope=math.inf), "got slope=inf"),
        (lambda: Sloppy(slope=True), "got slope=True"),
        (lambda: Sloppy(slope=cast(float, "0.1")), "got slope='0.1'"),
        (lambda: Sloppy(slope=0.1, floor=-1), "floor must be a number >= 0"),
        (lambda: Sloppy(slope=0.1, trace=0), "trace must be a number > 0"),
        (lambda: PowerLaw(exponent=-1), "exponent must be a number >= 0"),
        (lambda: PowerLaw(1.0, log_exponent=-1), "log_exponent must be a number >= 0 (of the log"),
        (lambda: Spiked(cast(Any, 10.0)), "Write Spiked((10.0,))."),
        (lambda: Spiked((10.0, -1.0)), "spikes must be a number > 0 (each of them)"),
        (lambda: Spiked((10.0, 5.0))(2), "got dim=2 with 2 spikes"),
        (lambda: Measured((1.0, 0.0)), "got eigenvalues=0.0"),
        (lambda: Measured((1.0, 2.0))(3), "got dim=3 with 2 eigenvalues. Set dim=2."),
        (lambda: SloppyAsReleased2022(rate=0.0), "use Isotropic() there"),
        (lambda: SloppyAsCleaned2024(slope=-1.0), "slope must be a number >= 0"),
        (lambda: Isotropic()(0), "dim must be a whole number >= 1; got dim=0"),
        (lambda: Isotropic()(cast(int, 2.5)), "got dim=2.5"),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence(build: Callable[[], object], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refusal:
        build()
    assert sentence in str(refusal.value)
