"""Deep factorizations against closed forms, and least nuclear norms against their certificates."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from tsframe.completion.factorization import DeepFactorization, flow, GradientFlow
from tsframe.completion.nuclear import ADMM, least_nuclear_norm, NuclearNorm
from tsframe.completion.targets import LowRank, observed_entries
from tsframe.completion.trial import Completion, effective_rank
from tsframe.execution import run
from tsframe.sweep import Sweep
from tsframe.theory import deep_linear
from tsframe.training.schedules import log_steps

TARGET = LowRank(dim=16, rank=3, strengths=(3.0, 2.0, 1.0))
DEEP = Completion(
    target=TARGET,
    observed=130,
    student=DeepFactorization(layers=3, start=1e-2),
    training=GradientFlow(step=0.2, tolerance=1e-5, max_steps=400),
    curve_steps=(0, 10, 100, 400),
)
CONVEX = replace(DEEP, student=NuclearNorm(), training=ADMM(gap=1e-5), curve_steps=())


def measured(*trials):
    return Completion.train_together(list(trials))


@pytest.mark.parametrize("strengths", [None, (3.0, 2.0, 1.0)])
def test_targets_have_their_rank_and_a_mean_square_of_one(strengths):
    matrix = LowRank(20, 3, strengths).draw(seed=1)
    values = np.linalg.svd(matrix, compute_uv=False)
    assert np.mean(matrix**2) == pytest.approx(1.0, rel=1e-12)
    assert np.all(values[3:] < 1e-12 * values[0]) and values[2] > 0.05 * values[0]
    if strengths:
        np.testing.assert_allclose(values[:3] / values[2], strengths, rtol=1e-12)
    assert not np.allclose(matrix, LowRank(20, 3, strengths).draw(seed=2))


def test_entries_seen_are_counted_and_nested():
    few, more = observed_entries(12, 30, seed=0), observed_entries(12, 60, seed=0)
    assert few.sum() == 30 and more.sum() == 60 and (more | few).sum() == 60
    assert observed_entries(12, 144, seed=0).all()
    rows = np.mean([observed_entries(12, 36, seed).mean(axis=1) for seed in range(200)], axis=0)
    assert np.all(np.abs(rows - 0.25) < 5 * np.sqrt(0.25 * 0.75 / (12 * 200)))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_aligned_modes_follow_the_closed_form_to_first_order_in_the_step(layers):
    target, start, gaps = LowRank(3, 3, (3.0, 2.0, 1.0)).draw(seed=0), 0.05, []
    strengths, seen = np.linalg.svd(target, compute_uv=False), np.ones((1, 3, 3), dtype=bool)
    for step in (0.04, 0.02):
        factors = DeepFactorization(layers, start, aligned=True).factors(target, 0)
        training = GradientFlow(step, 1e-6, round(300 / step))
        wanted = log_steps(training.max_steps, 25)
        states = list(flow([factors], target[None], seen, training, wanted))
        found = [np.linalg.svd(state.product[0], compute_uv=False) for state in states]
        times = [float(state.time[0]) for state in states]
        law = deep_linear(strengths, times, start, layers).transpose("time", "strength").values
        gaps.append(np.max(np.abs(found - law) / strengths))
        assert states[-1].error[0] <= 1e-6 and len(states) > 10
        other = deep_linear(strengths, times, start, layers + 1).transpose("time", "strength")
        assert np.max(np.abs(found - other.values) / strengths) > 5 * gaps[-1]
    assert gaps[1] < 0.05
    assert gaps[1] / gaps[0] == pytest.approx(0.5, abs=0.1)


def test_steps_are_gradients_of_half_the_squares_on_the_entries_seen():
    # One step against finite differences of the loss by every weight.
    target, seen = TARGET.draw(0), observed_entries(16, 100, 0)
    factors = DeepFactorization(3, start=2.0).factors(target, seed=0)

    def loss(w):
        return 0.5 * np.sum(np.where(seen, w[2] @ w[1] @ w[0] - target, 0.0) ** 2)

    states = list(
        flow([factors], target[None], seen[None], GradientFlow(1e-6, 1e-9, 1), steps=(0, 1))
    )
    rate = float(states[-1].time[0])
    stepped = []
    for k in range(3):
        gradient = np.zeros_like(factors[k])
        for at in np.ndindex(*gradient.shape):
            changed = [w.copy() for w in factors]
            changed[k][at] += 1e-5
            up = loss(changed)
            changed[k][at] -= 2e-5
            gradient[at] = (up - loss(changed)) / 2e-5
        stepped.append(factors[k] - rate * gradient)
    moved = states[-1].product[0] - states[0].product[0]
    expected = stepped[2] @ stepped[1] @ stepped[0] - factors[2] @ factors[1] @ factors[0]
    np.testing.assert_allclose(moved, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_drawn_factors_have_a_product_of_the_norm_they_promise():
    norms = [
        np.linalg.norm(np.linalg.multi_dot(DeepFactorization(3, 0.1).factors(np.eye(16), seed)))
        for seed in range(300)
    ]
    squares = np.square(norms)
    error = squares.std() / np.sqrt(300)
    assert abs(squares.mean() - 0.1**2 * 16) < 5 * error


def test_one_layer_leaves_what_it_does_not_see_and_deep_ones_fill_it_in():
    # Arora, Cohen, Hu & Luo 2019: with few entries depth finds the low rank, least norms do not.
    trials = [
        replace(
            DEEP,
            target=LowRank(24, 2, (1.5, 1.0)),
            observed=220,
            student=DeepFactorization(layers, 1e-3),
            training=GradientFlow(0.5, 1e-5, 4000),
            curve_steps=(),
            seed=seed,
        )
        for layers in (1, 2, 3)
        for seed in range(4)
    ]
    convex = [replace(t, student=NuclearNorm(), training=ADMM(1e-4)) for t in trials[:4]]
    found = measured(*trials, *convex)
    errors = found.test_error.values.reshape(4, 4)
    unseen = 1 - 220 / 24**2
    for error, trial in zip(errors[0], trials[:4], strict=True):
        target, seen = trial.target.draw(trial.seed), observed_entries(24, 220, trial.seed)
        assert error == pytest.approx(np.sum(target[~seen] ** 2) / 24**2, rel=0.05)
    assert errors[0].mean() == pytest.approx(unseen, rel=0.2)
    assert np.all(errors[2] < 0.1 * errors[1])
    assert np.all(errors[2] < 0.1 * errors[3])
    ranks, norms = (found[name].values.reshape(4, 4) for name in ("effective_rank", "nuclear_norm"))
    assert np.all(ranks[2] < ranks[3]) and np.all(norms[2] > norms[3])


@pytest.mark.parametrize("observed", [60, 130, 256])
def test_the_least_nuclear_norm_comes_with_a_certificate(observed):
    target, seen = TARGET.draw(3), observed_entries(16, observed, 3)
    found = least_nuclear_norm(target, seen, ADMM(gap=1e-6, max_steps=20_000))
    np.testing.assert_array_equal(found.matrix[seen], target[seen])
    assert np.all(found.dual[~seen] == 0.0)
    assert np.linalg.svd(found.dual, compute_uv=False)[0] <= 1 + 1e-12
    norm = np.linalg.svd(found.matrix, compute_uv=False).sum()
    bound = np.sum(found.dual * target)  # no matrix with these entries has a smaller norm
    assert 0 <= (norm - bound) / norm <= 1e-6
    assert found.gap == pytest.approx((norm - bound) / norm, abs=1e-9)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 0.1, 1.0):
        other = found.matrix + np.where(seen, 0.0, scale * rng.standard_normal((16, 16)))
        assert np.linalg.svd(other, compute_uv=False).sum() >= bound


@pytest.mark.parametrize(("b", "c"), [(1.0, 1.0), (2.0, 2.0), (0.5, 3.0), (0.2, 0.3)])
def test_a_corner_is_completed_as_by_hand(b, c):
    # Of [[1, b], [c, x]] the squared nuclear norm is 1 + b^2 + c^2 + x^2 + 2 |x - b c|.
    target, seen = np.array([[1.0, b], [c, 9.0]]), np.array([[True, True], [True, False]])
    found = least_nuclear_norm(target, seen, ADMM(gap=1e-10, max_steps=20_000))
    assert found.matrix[1, 1] == pytest.approx(min(1.0, b * c), abs=1e-4)


def test_a_budget_that_ends_tells_the_gap_that_is_left():
    target, seen = TARGET.draw(0), observed_entries(16, 100, 0)
    short = least_nuclear_norm(target, seen, ADMM(gap=1e-12, max_steps=7))
    assert short.steps == 7 and short.gap > 1e-4


def test_effective_ranks_are_those_of_entropy():
    assert effective_rank(np.array([1.0, 0.0])) == pytest.approx(1.0)
    assert effective_rank(np.ones(7)) == pytest.approx(7.0)
    assert 1.0 < effective_rank(np.array([3.0, 1.0])) < 2.0


def mixture():
    trials = [
        replace(
            DEEP,
            observed=observed,
            student=DeepFactorization(layers, 1e-2, aligned),
            training=GradientFlow(0.3, 1e-3, 300),
            curve_steps=curve_steps,
            seed=seed,
        )
        for layers, curve_steps in ((1, ()), (2, (0, 30)), (3, (0, 30)))
        for observed, aligned in ((60, False), (130, False), (256, True))
        for seed in (0, 1)
    ]
    small = replace(DEEP, target=LowRank(9, 2), observed=50, curve_steps=(0, 30))
    return [*trials, small, CONVEX, replace(CONVEX, seed=1)]


def test_bits_hang_on_the_trial_alone():
    trials = mixture()
    together = measured(*trials)
    assert len(set(together.steps.values)) > 6, "they must finish at different times"
    order = np.random.default_rng(0).permutation(len(trials))
    shuffled = Completion.train_together([trials[k] for k in order], threads=3)
    for name in together.data_vars:
        a, b = together[name].values, shuffled[name].values
        assert np.array_equal(a[order], b, equal_nan=True), name
    for k, trial in enumerate(trials):
        alone = measured(trial)
        for name in alone.data_vars:
            own = alone[name].values[0]
            whole = together[name].values[(k, *(slice(length) for length in np.shape(own)))]
            assert np.array_equal(own, whole, equal_nan=True), (name, trial)


def test_what_is_declared_comes_and_a_sweep_stores_it(tmp_path):
    for asked in (DEEP, CONVEX, DEEP.unmeasured):
        found = measured(asked)
        assert set(found.data_vars) == {*asked.declared, "diverged"}
        for name, inner in asked.declared.items():
            assert found[name].dims == ("student", *inner)
            assert np.isfinite(found[name]).all(), name
    curve = measured(DEEP).singular_values_curve.values[0]
    np.testing.assert_array_equal(curve[-1], measured(DEEP).singular_values.values[0])
    assert np.all(np.diff(measured(DEEP).time_curve.values[0]) >= 0)

    def trial(kind, observed, seed):
        return replace(DEEP if kind == "deep" else CONVEX, observed=observed, seed=seed)

    sweep = Sweep(trial, kind=["deep", "convex"], observed=[100, 150], seed=[0, 1])
    results = run(sweep, tmp_path / "small.zarr", n_jobs=1, progress=False)
    assert (results.state == 1).all()
    one = measured(replace(DEEP, observed=150, seed=1))
    stored = results.sel(kind="deep", observed=150, seed=1)
    assert float(stored.test_error) == float(one.test_error[0])
    assert np.isnan(stored.duality_gap) and np.isfinite(stored.time)


def test_a_student_that_explodes_is_a_result():
    wild = replace(DEEP, student=DeepFactorization(2, 1e200))
    found = measured(wild, replace(DEEP, student=DeepFactorization(2, 1e-2)))
    assert found.diverged.values.tolist() == [True, False]
    for name in ("test_error", "nuclear_norm", "time", "singular_values", "time_curve"):
        assert np.isnan(found[name].values[0]).all() and np.isfinite(found[name].values[1]).all()
    assert found.steps.values[0] == 0


def test_a_trial_is_a_value():
    assert pickle.loads(pickle.dumps(DEEP)) == DEEP and hash(DEEP) == hash(replace(DEEP))
    names = dict(
        Completion=Completion, LowRank=LowRank, DeepFactorization=DeepFactorization,
        GradientFlow=GradientFlow,
    )  # fmt: skip
    assert eval(repr(DEEP), names) == DEEP
    assert CONVEX.flops > 0 and DEEP.flops > 0


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LowRank(0, 1), "dim must be a whole number >= 1; got dim=0."),
        (lambda: LowRank(3, 4), "rank must be a whole number in [1, dim=3]; got rank=4."),
        (lambda: LowRank(3, 2, (1.0,)), "strengths must be rank=2 numbers > 0"),
        (lambda: DeepFactorization(0), "layers must be a whole number >= 1; got layers=0."),
        (lambda: DeepFactorization(2, 0.0), "From zero nothing moves."),
        (lambda: DeepFactorization(2, aligned=1), "aligned must be True or False"),  # type: ignore[arg-type]
        (lambda: GradientFlow(step=1.5), "step must be a number in (0, 1]; got step=1.5."),
        (lambda: GradientFlow(tolerance=0.0), "tolerance must be a number > 0"),
        (lambda: ADMM(gap=-1.0), "gap must be a number > 0"),
        (lambda: replace(DEEP, observed=257), "in [1, dim^2=256]"),
        (lambda: replace(DEEP, training=ADMM()), "is trained by GradientFlow, NuclearNorm by ADMM"),
        (lambda: replace(DEEP, curve_steps=(3, 1)), "curve_steps must be ascending"),
        (lambda: replace(DEEP, curve_steps=(0, 401)), "must not pass max_steps=400; got 401."),
        (lambda: replace(CONVEX, curve_steps=(0,)), "Leave them out."),
        (lambda: replace(DEEP, target=5), "target must be LowRank; got 5."),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(make, sentence):
    with pytest.raises((TypeError, ValueError)) as refusal:
        make()
    assert sentence in str(refusal.value)
