"""Deep linear dynamics against gradient descent with small steps."""

import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tsframe.theory import deep_linear, deep_linear_time

law: Any = sys.modules["tsframe.theory.deep_linear"]  # the function hides it as an attribute
RNG = np.random.default_rng(0)


def descend(layers, s, u0, rate, steps):
    """Gradient descent on scalars, loss (s - product)^2 / 2, balanced start."""
    w, path = np.full(layers, u0 ** (1 / layers)), [u0]
    for _ in range(steps):
        product = np.prod(w)
        w = w + rate * (s - product) * product / w
        path.append(np.prod(w))
    return np.array(path)


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
@pytest.mark.parametrize(("s", "u0"), [(2.0, 0.05), (0.7, 0.3)])
def test_small_steps_follow_the_law_to_first_order_in_their_size(layers, s, u0) -> None:
    gaps = []
    for rate in (2e-3, 1e-3):
        path = descend(layers, s, u0, rate, int(4 / rate))
        steps = np.arange(0, len(path), 40)
        exact = deep_linear(s, rate * steps, u0, layers)
        gaps.append(float(np.max(np.abs(exact.values - path[steps]))))
    assert gaps[1] < 0.01
    assert gaps[1] / gaps[0] == pytest.approx(0.5, abs=0.05)
    other = deep_linear(s, 1e-3 * steps, u0, layers + 1)  # control: a layer more
    assert np.max(np.abs(other.values - path[steps])) > 5 * gaps[1]


def test_the_values_of_record_come_out() -> None:
    assert descend(2, 2.0, 1e-3, 1e-3, 4000)[-1] == pytest.approx(1.99955432, abs=5e-9)
    assert float(deep_linear(2.0, 4.0, 1e-3)) == pytest.approx(1.99955019, abs=5e-9)
    assert float(deep_linear_time(2.0, 1e-3, 1.9)) == pytest.approx(2.63621, abs=5e-6)
    three = deep_linear(2.0, [1.0, 2.0], 0.05, layers=3)
    np.testing.assert_allclose(three, [0.991665, 1.998583], rtol=5e-4)
    path = descend(3, 2.0, 0.05, 2e-4, 10000)
    np.testing.assert_allclose(path[[5000, 10000]], three, rtol=1e-3)


@pytest.mark.parametrize("layers", [1, 2, 3, 10])
def test_time_and_strength_are_inverse_to_each_other(layers) -> None:
    s, u0, t = 1.5, 0.01, np.linspace(0.0, 3.0, 7)
    u = deep_linear(s, t, u0, layers)
    assert u.values[0] == pytest.approx(u0, rel=1e-12)
    back = deep_linear_time(s, u0, u.values, layers)
    np.testing.assert_allclose(back, t, rtol=1e-6, atol=1e-9)


def slow_time(s, begin, end, layers):
    """The slow road: dx / (N s u^{1 - 2/N}) by Gauss-Legendre quadrature; x = log(u / (s - u))."""
    nodes, weights = np.polynomial.legendre.leggauss(128)
    half = (end - begin)[..., None] / 2
    u = s[..., None] / (1 + np.exp(-begin[..., None] - half * (nodes + 1)))
    return np.sum(weights * half / (layers * s[..., None] * u ** (1 - 2 / layers)), axis=-1)


def slowly(s, t, u0, layers):
    """Halve the bracket of the x that takes the time."""
    begin = np.log(u0 / (s - u0))
    low, high = begin, np.full_like(begin, 45.0)
    for _ in range(60):
        middle = (low + high) / 2
        early = slow_time(s, begin, middle, layers) < t
        low, high = np.where(early, middle, low), np.where(early, high, middle)
    return s / (1 + np.exp(-low))


@pytest.mark.parametrize("layers", [3, 4, 5, 8, 31])
def test_newton_finds_what_halving_a_quadrature_does(layers) -> None:
    s = 10 ** RNG.uniform(-2, 2, 60)
    u0 = s * 10 ** RNG.uniform(-8, -0.4, 60)
    half = np.log(u0 / (s - u0)), np.zeros(60)
    t = slow_time(s, *half, layers) * RNG.uniform(0, 3, 60)
    strength, time, start = (xr.DataArray(values, dims="mode") for values in (s, t, u0))
    u = deep_linear(strength, time, start, layers)
    # Rounding: an error of t grows by N s u^{1 - 2/N} t, up to a thousand here, in log u.
    np.testing.assert_allclose(u, slowly(s, t, u0, layers), rtol=1e-10)
    end = xr.DataArray(u0 + (s - u0) * RNG.uniform(0.01, 0.99, 60), dims="mode")
    times = slow_time(s, half[0], np.log(end.values / (s - end.values)), layers)
    np.testing.assert_allclose(deep_linear_time(strength, start, end, layers), times, rtol=1e-10)


def test_the_slow_road_meets_the_law_of_two_layers() -> None:
    s, begin, end = (np.array([value]) for value in (2.0, -6.0, 3.0))
    assert slow_time(s, begin, end, 2) == pytest.approx(9 / 4, rel=1e-12)
    assert slowly(s, np.array([4.0]), np.array([1e-3]), 2) == pytest.approx(1.99955019, abs=5e-9)


def test_ten_thousand_values_take_a_moment(monkeypatch) -> None:
    calls, passed = [], law._passed

    def counted(x, layers):
        calls.append(x)
        return passed(x, layers)

    monkeypatch.setattr(law, "_passed", counted)
    s, t = xr.DataArray(np.geomspace(0.3, 3, 10), dims="s"), np.linspace(0, 40, 1000)
    for start in (1e-12, 1e-3, 0.29):
        calls.clear()
        deep_linear(s, xr.DataArray(t, dims="t"), start, layers=10)
        assert len(calls) <= 12, "steps of Newton's method, and two times that are given"


def test_strong_modes_are_learned_first_and_a_sharp_start_stays() -> None:
    times = deep_linear_time([1.0, 2.0, 4.0], 1e-3, 0.9)
    assert np.all(np.diff(times) < 0)
    assert float(deep_linear(2.0, 1e6, 1e-3, layers=3)) == pytest.approx(2.0, rel=1e-15)
    assert deep_linear(1.0, [0.0, 1.0, 9.0], 1.0, layers=3).values.tolist() == [1.0] * 3
    grid = deep_linear([1.0, 2.0], [0.0, 1.0, 2.0], 0.1)
    assert grid.sizes == {"strength": 2, "time": 3}


def test_what_is_no_dynamics_is_refused() -> None:
    with pytest.raises(ValueError, match="layers must be a whole number >= 1; got layers=0"):
        deep_linear(1.0, 1.0, 0.1, layers=0)
    with pytest.raises(ValueError, match="start must be <= strength"):
        deep_linear(1.0, 1.0, 2.0)
    with pytest.raises(ValueError, match="end must satisfy start <= end < strength"):
        deep_linear_time(1.0, 0.1, 1.0)
