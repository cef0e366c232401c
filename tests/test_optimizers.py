"""Optimizers held against their definitions and the stationary laws that are known exactly."""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest

from tsframe.training.adam import Adam
from tsframe.training.descent import descend
from tsframe.training.entropy_sgd import EntropySGD
from tsframe.training.langevin import Langevin
from tsframe.training.optimizer import Optimizer
from tsframe.training.parle import Parle
from tsframe.training.sam import SAM
from tsframe.training.schedules import Cosine, StepDecay
from tsframe.training.sgd import SGD
from tsframe.training.stopping import TrainLossBelow, ZeroTrainError

CURVATURES = np.array([0.05, 0.5, 2.0])
HESSIAN = np.array([[2.0, 0.3, 0.0], [0.3, 0.7, -0.2], [0.0, -0.2, 0.1]])  # of positive eigenvalues
STARTS = np.random.default_rng(0).standard_normal((4, 3))


def quadratic(x: np.ndarray, minibatch: int) -> np.ndarray:
    return np.asarray(x @ HESSIAN)


def first_step(spec: Optimizer, gradient: Callable[..., np.ndarray] = quadratic) -> np.ndarray:
    return next(descend([spec] * len(STARTS), STARTS, gradient))


def long_after(steps: int, every: int, count: int, walk: Any) -> np.ndarray:
    """Points of a chain that has run for so many steps, then every so often."""
    return np.stack(list(islice(walk, steps, steps + every * count, every)))


def within(measured: np.ndarray, expected: np.ndarray | float, errors: float = 5.0) -> np.ndarray:
    """Whether means over the first axis lie within some standard errors of what is expected."""
    error = measured.std(0, ddof=1) / np.sqrt(len(measured))
    return np.asarray(np.abs(measured.mean(0) - expected) < errors * error)


def test_each_point_has_the_momentum_and_the_schedule_of_its_own_spec() -> None:
    specs = [
        SGD(0.3, momentum=0.9, max_steps=30, schedule=Cosine()),
        SGD(0.2, momentum=0.5, max_steps=15, schedule=Cosine(0.2)),
        SGD(0.5, weight_decay=0.1, schedule=StepDecay(4, 0.5)),
        SGD(0.4, momentum=0.3),
    ]
    x, velocity = STARTS.copy(), np.zeros_like(STARTS)
    for step, found in enumerate(islice(descend(specs, STARTS, quadratic), 12)):
        for k, spec in enumerate(specs):
            pull = HESSIAN @ x[k] + spec.weight_decay * x[k]
            velocity[k] = spec.momentum * velocity[k] + pull
            x[k] -= spec.lr * spec.schedule(step, spec.max_steps) * velocity[k]
        np.testing.assert_allclose(found, x, rtol=1e-12)


def test_each_point_has_the_moments_and_the_schedule_of_its_own_spec() -> None:
    specs = [
        Adam(0.1),
        Adam(0.2, beta1=0.0, beta2=0.9, max_steps=20, schedule=Cosine()),
        Adam(0.3, beta1=0.5, epsilon=0.1, weight_decay=0.2),
        Adam(0.1, beta2=0.0, schedule=StepDecay(3)),
    ]
    x, first, second = STARTS.copy(), np.zeros_like(STARTS), np.zeros_like(STARTS)
    for step, found in enumerate(islice(descend(specs, STARTS, quadratic), 12)):
        for k, spec in enumerate(specs):  # Kingma & Ba 2015, Algorithm 1
            pull = HESSIAN @ x[k] + spec.weight_decay * x[k]
            first[k] = spec.beta1 * first[k] + (1 - spec.beta1) * pull
            second[k] = spec.beta2 * second[k] + (1 - spec.beta2) * pull**2
            mean = first[k] / (1 - spec.beta1 ** (step + 1))
            square = second[k] / (1 - spec.beta2 ** (step + 1))
            rate = spec.lr * spec.schedule(step, spec.max_steps)
            x[k] -= rate * mean / (np.sqrt(square) + spec.epsilon)
        np.testing.assert_allclose(found, x, rtol=1e-11)


def test_langevin_cools_with_its_schedule() -> None:
    # A step without gradient is a normal of variance 2 lr factor temperature.
    lr, temperature, chains = 0.4, 0.3, 4000
    specs = [Langevin(lr, temperature, max_steps=9, schedule=StepDecay(1, 0.25))] * chains
    walk = descend(specs, np.zeros((chains, 1)), lambda x, _: 0.0 * x)
    first, second = islice(walk, 2)
    assert within(first**2, 2 * lr * temperature)
    assert within((second - first) ** 2, 2 * lr * 0.25 * temperature)


def test_sgd_on_a_quadratic_has_its_stationary_variance() -> None:
    # Gradient noise of covariance s2 H gives eta s2 / (2 - eta h) in every mode.
    lr, s2, chains = 0.4, 0.3, 6000
    rng = np.random.default_rng(1)

    def noisy(x: np.ndarray, minibatch: int) -> np.ndarray:
        noise = np.sqrt(s2 * CURVATURES) * rng.standard_normal(x.shape)
        return np.asarray(x * CURVATURES + noise)

    walk = descend([SGD(lr)] * chains, np.zeros((chains, 3)), noisy)
    squares = next(islice(walk, 400, None)) ** 2
    law = lr * s2 / (2.0 - lr * CURVATURES)
    assert within(squares, law).all()
    assert not within(squares, 0.5 * lr * s2 * np.ones(3)).all(), "the law of small steps is off"


def test_langevin_on_a_quadratic_has_the_variance_of_the_discrete_chain() -> None:
    lr, temperature, chains, h = 0.4, 0.3, 600, CURVATURES[1:]
    spec = Langevin(lr, temperature)
    walk = descend([spec] * chains, np.zeros((chains, 2)), lambda x, _: x * h)
    squares = (long_after(50, 12, 60, walk) ** 2).mean(0)  # a mean over time for each chain
    law = temperature / (h * (1.0 - lr * h / 2.0))
    assert within(squares, law).all()
    assert not within(squares, 1.05 * law).any(), "it must tell 5 percent"


def test_langevin_in_a_double_well_visits_it_by_the_law_of_gibbs() -> None:
    # U = (x^2 - 1)^2 / 4 at temperature 0.2, whose barrier is 1.25 temperatures high.
    temperature, chains = 0.2, 250
    starts = np.linspace(-1.5, 1.5, chains)[:, None]
    spec = Langevin(lr=0.02, temperature=temperature)
    walk = descend([spec] * chains, starts, lambda x, _: x * (x**2 - 1.0))
    x = long_after(500, 50, 40, walk)[..., 0]
    grid = np.linspace(-4.0, 4.0, 4001)

    def law(moment: Callable[[np.ndarray], np.ndarray], temperature: float) -> float:
        weight = np.exp(-((grid**2 - 1.0) ** 2) / (4.0 * temperature))
        return float((moment(grid) * weight).sum() / weight.sum())

    moments: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda y: y,
        lambda y: y**2,
        lambda y: (y**2 - 1.0) ** 2,
        lambda y: (np.abs(y) < 0.5).astype(float),
    ]
    for moment in moments:  # means over time, one a chain: what one chain does is correlated
        assert within(moment(x).mean(0), law(moment, temperature))
    wrong = law(moments[2], 1.25 * temperature)
    assert not within(moments[2](x).mean(0), wrong), "1.25 times the temperature is off"


def test_entropy_sgd_descends_the_smoothed_loss() -> None:
    # On a quadratic -grad F = scope H (H + scope)^-1 x, once the inner chain has settled.
    scope, lr = 0.4, 0.7
    spec = EntropySGD(SGD(lr), scope, inner_lr=0.5, inner_steps=200, temperature=0.0)
    smoothed = scope * HESSIAN @ np.linalg.inv(HESSIAN + scope * np.eye(3))
    np.testing.assert_allclose(first_step(spec), STARTS - lr * STARTS @ smoothed, rtol=1e-10)


def test_entropy_sgd_at_a_temperature_descends_the_same_smoothed_quadratic_on_average() -> None:
    scope, chains = 0.4, 200
    start = np.tile(STARTS[:1], (chains, 1))
    spec = EntropySGD(
        SGD(1.0), scope, inner_lr=0.2, inner_steps=100, temperature=0.1, averaging=0.05
    )
    moved = start - next(descend([spec] * chains, start, quadratic))
    smoothed = scope * HESSIAN @ np.linalg.inv(HESSIAN + scope * np.eye(3))
    assert moved.std(0).min() > 1e-3, "there must be noise"
    assert within(moved, STARTS[0] @ smoothed).all()


def test_one_inner_step_is_the_definition() -> None:
    lr, inner, scope, share = 0.5, 0.1, 0.3, 0.75
    spec = EntropySGD(SGD(lr), scope, inner, 1, temperature=0.0, averaging=share)
    expected = STARTS - lr * scope * share * inner * STARTS @ HESSIAN
    np.testing.assert_allclose(first_step(spec), expected, rtol=1e-12)


def test_the_scope_grows_step_by_step() -> None:
    plain = EntropySGD(SGD(0.5), 0.3, 0.1, 3, temperature=0.0)
    grown = EntropySGD(SGD(0.5), 0.3, 0.1, 3, temperature=0.0, growth=0.5)
    both = islice(descend([grown, plain], STARTS[[0, 0]], quadratic), 2)  # each grows by itself
    first, second = (points[:1] for points in both)
    tight = EntropySGD(SGD(0.5), 0.45, 0.1, 3, temperature=0.0)
    assert np.array_equal(first, next(descend([plain], STARTS[:1], quadratic)))
    np.testing.assert_allclose(second, next(descend([tight], first, quadratic)), rtol=1e-12)


@pytest.mark.parametrize("coupling", [0.0, 0.7])
def test_parle_with_one_replica_is_entropy_sgd_to_the_bit(coupling: float) -> None:
    base = EntropySGD(SGD(0.5, momentum=0.9, weight_decay=0.1), 0.3, 0.1, 4, temperature=0.01)
    alone = islice(descend([base] * 4, STARTS, quadratic), 6)
    for one, other in zip(
        islice(descend([Parle(base, 1, coupling)] * 4, STARTS, quadratic), 6), alone, strict=True
    ):
        assert np.array_equal(one, other)


def test_replicas_without_noise_and_minibatches_of_their_own_move_as_one() -> None:
    base = EntropySGD(SGD(0.5), 0.3, 0.1, 4, temperature=0.0)
    many = first_step(Parle(base, 4, coupling=0.5))
    np.testing.assert_allclose(many, first_step(base), rtol=1e-12)


def test_replicas_are_drawn_to_their_mean() -> None:
    # Each minibatch pulls to a place of its own; replica a sees two of its own in each step.
    places = np.random.default_rng(2).standard_normal(1000)

    def gradient(x: np.ndarray, minibatch: int) -> np.ndarray:
        return np.asarray(x - places[minibatch])

    lr, scope, coupling, inner = 0.8, 0.5, 0.25, 0.2
    base = EntropySGD(SGD(lr), scope, inner, 2, temperature=0.0)
    steps = descend([Parle(base, 3, coupling)], np.ones((1, 1)), gradient)
    x, seen = np.ones(3), 0
    for _ in range(5):
        center = x.mean()
        for a in range(3):
            near, mean = x[a], x[a]
            for _ in range(2):
                near -= inner * (near - places[seen] + scope * (near - x[a]))
                mean = 0.25 * mean + 0.75 * near
                seen += 1
            x[a] -= lr * (scope * (x[a] - mean) + coupling * (x[a] - center))
        np.testing.assert_allclose(next(steps)[0, 0], x.mean(), rtol=1e-12)


def test_the_tie_to_the_mean_grows_with_the_scope() -> None:
    places = np.random.default_rng(3).standard_normal(1000)
    lr, scope, coupling, inner, growth = 0.8, 0.5, 0.25, 0.2, 0.3
    base = EntropySGD(SGD(lr), scope, inner, 1, temperature=0.0, growth=growth)
    # Of a loss that is no quadratic: there the tie does not enter the mean.
    steps = descend([Parle(base, 2, coupling)], np.ones((1, 1)), lambda x, k: x**3 - places[k])
    x, seen = np.ones(2), 0
    for step in range(4):
        center, grown = x.mean(), (1.0 + growth) ** step
        for a in range(2):
            mean = x[a] - 0.75 * inner * (x[a] ** 3 - places[seen])
            x[a] -= lr * grown * (scope * (x[a] - mean) + coupling * (x[a] - center))
            seen += 1
        np.testing.assert_allclose(next(steps)[0, 0], x.mean(), rtol=1e-12)


def test_sam_on_a_quadratic_is_its_definition() -> None:
    radius, lr = 0.3, 0.5
    g = STARTS @ HESSIAN
    norm = np.linalg.norm(g, axis=1, keepdims=True)
    expected = STARTS - lr * (g + radius * g @ HESSIAN / norm)
    np.testing.assert_allclose(first_step(SAM(SGD(lr), radius)), expected, rtol=1e-10, atol=1e-12)


def test_a_second_radius_weighs_what_is_found_at_the_first() -> None:
    radius, penalty, lr = 0.3, 0.1, 0.5
    g = STARTS @ HESSIAN
    norm = np.linalg.norm(g, axis=1, keepdims=True)
    expected = STARTS - lr * (g + penalty * g @ HESSIAN / norm)
    np.testing.assert_allclose(
        first_step(SAM(SGD(lr), radius, penalty)), expected, rtol=1e-10, atol=1e-12
    )


def test_equal_radii_are_sam() -> None:
    one, two = (first_step(SAM(SGD(0.5), 0.3, penalty)) for penalty in (None, 0.3))
    np.testing.assert_allclose(one, two, rtol=1e-14)


@pytest.mark.parametrize(
    "base", [SGD(0.1), SGD(0.1, 0.9, weight_decay=0.1), SGD(0.1, 0.9, nesterov=True), Adam(0.1)]
)
def test_sam_without_a_radius_is_its_base_to_the_bit(base: SGD | Adam) -> None:
    walks = (descend([spec] * 4, STARTS, quadratic) for spec in (base, SAM(base, 0.0)))
    for one, other in islice(zip(*walks, strict=True), 8):
        assert np.array_equal(one, other)


def test_langevin_without_temperature_is_gradient_descent() -> None:
    plain, cold = SGD(0.1, weight_decay=0.2), Langevin(0.1, 0.0, weight_decay=0.2)
    np.testing.assert_allclose(first_step(plain), first_step(cold), rtol=1e-14)


KINDS: dict[str, Sequence[Optimizer]] = {
    "sam": [SAM(SGD(0.1 * k, 0.9), radius=0.1 * k) for k in range(1, 5)],
    "two radii": [SAM(SGD(0.1 * k), 0.1, penalty=0.1 * k) for k in range(1, 5)],
    "langevin": [Langevin(0.1 * k, 0.1 * k, weight_decay=0.1 * k) for k in range(1, 5)],
    "entropy": [EntropySGD(SGD(0.5), 0.1 * k, 0.1 * k, 3, 0.01 * k) for k in range(1, 5)],
    "parle": [
        Parle(EntropySGD(SGD(0.5, 0.5), 0.1 * k, 0.1, 3, 0.01), 2, 0.1 * k) for k in range(1, 5)
    ],
}


@pytest.mark.parametrize("specs", KINDS.values(), ids=KINDS)
def test_what_a_point_does_is_its_own(specs: Sequence[Optimizer]) -> None:
    together = list(islice(descend(specs, STARTS, quadratic), 5))
    for k, spec in enumerate(specs):
        alone = islice(descend([spec], STARTS[k : k + 1], quadratic, [k]), 5)
        for one, all_ in zip(alone, together, strict=True):
            assert np.array_equal(one[0], all_[k])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SAM(SGD(0.1), radius=-1.0), "radius must be a finite number >= 0"),
        (lambda: SAM(SGD(0.1), 0.0, penalty=0.1), "beside a radius > 0"),
        (lambda: SAM(Langevin(0.1, 0.1)), "base must be SGD(...) or Adam(...)"),  # type: ignore
        (lambda: Langevin(0.1, temperature=-1.0), "temperature must be a finite number >= 0"),
        (lambda: Langevin(0.0, 0.1), "lr must be a positive number"),
        (lambda: SGD(lr="0.1"), "lr must be a positive number; got lr='0.1'."),  # type: ignore
        (lambda: SGD(0.1, momentum="0.9"), "momentum must lie in [0, 1)"),  # type: ignore
        (lambda: Adam(beta2="0.9"), "beta2 must lie in [0, 1)"),  # type: ignore
        (lambda: Adam(epsilon=None), "epsilon must be a number > 0"),  # type: ignore
        (lambda: Adam(schedule="cosine"), "schedule must be Constant(), Cosine() or Step"),  # type: ignore
        (lambda: SGD(0.1, schedule=Cosine), "schedule must be Constant()"),  # type: ignore
        (lambda: Langevin(0.1, 0.1, stop="never"), "stop must be ZeroTrainError()"),  # type: ignore
        (lambda: Cosine("0"), "final must lie in [0, 1]"),  # type: ignore
        (lambda: StepDecay(2.5), "every must be an integer >= 1"),  # type: ignore
        (lambda: EntropySGD(Adam()), "base must be SGD(...), the outer step"),  # type: ignore
        (lambda: EntropySGD(SGD(0.1), scope=0.0), "scope must be a finite number > 0"),
        (lambda: EntropySGD(SGD(0.1), averaging=1.5), "at most 1); got averaging=1.5"),
        (lambda: EntropySGD(SGD(0.1), inner_steps=0), "inner_steps must be a whole number >= 1"),
        (lambda: Parle(SGD(0.1)), "base must be EntropySGD(...)"),  # type: ignore
        (lambda: Parle(EntropySGD(SGD(0.1)), replicas=0), "replicas must be a whole number >= 1"),
        (lambda: Parle(EntropySGD(SGD(0.1)), coupling=-1.0), "coupling must be a finite number"),
        (lambda: next(descend([SGD(0.1)], STARTS, quadratic)), "got 1 of 1 forms for 4 points"),
    ],
)  # fmt: skip
def test_bad_optimizers_are_refused_with_a_sentence(make: Callable[[], Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refusal:
        make()
    assert sentence in str(refusal.value)


WHOLE: Any = np.int64


@pytest.mark.parametrize(
    ("numpy", "python"),
    [
        (SGD(np.float64(0.1), max_steps=WHOLE(5)), SGD(0.1, max_steps=5)),
        (SGD(0.1, np.float64(0.9), WHOLE(7)), SGD(0.1, 0.9, 7)),
        (Adam(np.float64(0.1), beta2=np.float64(0.9)), Adam(0.1, beta2=0.9)),
        (SGD(0.1, schedule=StepDecay(WHOLE(3))), SGD(0.1, schedule=StepDecay(3))),
        (SGD(0.1, stop=ZeroTrainError(WHOLE(3))), SGD(0.1, stop=ZeroTrainError(3))),
        (SGD(0.1, stop=TrainLossBelow(np.float64(0.5))), SGD(0.1, stop=TrainLossBelow(0.5))),
    ],
)  # fmt: skip
def test_numbers_of_numpy_make_the_same_optimizer_to_the_letter(numpy: Any, python: Any) -> None:
    assert repr(numpy) == repr(python)
    assert numpy == python
