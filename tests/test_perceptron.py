import itertools
import pickle
from dataclasses import replace

import numpy as np
import pytest

from tsframe.execution import run
from tsframe.perceptron.instances import distances, draw_instance, error_at, pack, signs
from tsframe.perceptron.listing import (
    cluster_sizes,
    isolated,
    local_entropy,
    shells,
    solutions,
)
from tsframe.perceptron.searches import anneal, Annealing, Densest, Uniform
from tsframe.perceptron.trial import PerceptronTrial
from tsframe.streams import stream
from tsframe.sweep import Sweep
from tsframe.verification import verify


def every_student(dim):
    """All vectors of signs, in the order of their bits."""
    return np.array(list(itertools.product([-1, 1], repeat=dim)), np.int64)[:, ::-1]


def fields(instance):
    """Products of every student with every pattern, by plain multiplication."""
    return every_student(instance.dim) @ signs(instance.patterns, instance.dim).T.astype(np.int64)


def trial(**changes):
    return PerceptronTrial(**(dict(dim=11, n_train=5) | changes))


CASES = [(3, 1), (3, 4), (5, 3), (9, 4), (13, 6), (13, 12)]
every_case = pytest.mark.parametrize(("dim", "n"), CASES)
every_noise = pytest.mark.parametrize("label_noise", [0.0, 0.5, 1.0])


@every_noise
@every_case
def test_the_list_of_solutions_is_that_of_brute_force(dim, n, label_noise):
    for seed in range(10):
        instance = draw_instance(dim, n, label_noise, seed)
        brute = np.flatnonzero((fields(instance) > 0).all(axis=1))
        assert np.array_equal(solutions(instance), brute)


def test_bits_and_signs_are_one_thing():
    everyone = every_student(7)
    assert np.array_equal(pack((everyone > 0).astype(np.int64)), np.arange(2**7))
    assert np.array_equal(signs(np.arange(2**7, dtype=np.uint32), 7), everyone)
    one, other = np.arange(2**7, dtype=np.uint32)[:, None], np.arange(2**7, dtype=np.uint32)
    assert np.array_equal(7 - 2 * distances(one, other).astype(int), everyone @ everyone.T)


def test_the_teacher_is_a_solution_of_its_own_labels():
    for seed in range(20):
        instance = draw_instance(15, 12, 0.0, seed)
        assert instance.teacher in solutions(instance)


def test_random_labels_leave_half_of_the_students_each():
    counts = np.array([len(solutions(draw_instance(13, 6, 1.0, seed))) for seed in range(400)])
    assert abs(counts.mean() - 2 ** (13 - 6)) < 5 * counts.std(ddof=1) / np.sqrt(350)
    taught = np.array([len(solutions(draw_instance(13, 6, 0.0, seed))) for seed in range(400)])
    assert taught.mean() - 2 ** (13 - 6) > 5 * taught.std(ddof=1) / np.sqrt(350)


def test_noise_redraws_its_share_of_labels_and_more_patterns_keep_the_first():
    clean, noisy, all_random = (draw_instance(25, 4000, noise, 0) for noise in (0.0, 0.3, 1.0))
    for instance, share in ((noisy, 0.15), (all_random, 0.5)):
        wrong = (instance.patterns != clean.patterns).mean()
        assert abs(wrong - share) < 5 * np.sqrt(share * (1 - share) / 4000)
    assert np.array_equal(draw_instance(25, 30, 0.3, 0).patterns, noisy.patterns[:30])
    plain = pack(stream(0, "patterns").integers(2, size=(4000, 25)))
    positive = (all_random.patterns == plain).mean()  # a pattern times 1 is itself
    assert abs(positive - 0.5) < 5 * np.sqrt(0.25 / 4000)


def test_shells_count_what_all_pairs_count():
    instance = draw_instance(9, 3, 0.5, 1)
    listed = solutions(instance)
    apart = distances(np.arange(2**9, dtype=np.uint32)[:, None], listed)
    counts = shells(listed, 9, 9)
    for d in range(10):
        assert np.array_equal(counts[d], (apart == d).sum(axis=1))
    assert np.array_equal(shells(listed, 9, 2), counts[:3])
    inside = counts.cumsum(axis=0)[:, listed[0]]
    np.testing.assert_allclose(local_entropy(listed, int(listed[0]), 9), np.log(inside) / 9)
    far = int(np.argmax(apart.min(axis=1)))  # a student that is no solution has none at first
    assert np.isnan(local_entropy(listed, far, 9)[0])


@every_case
def test_clusters_are_what_a_walk_by_single_flips_reaches(dim, n):
    for seed in range(3):
        listed = solutions(draw_instance(dim, n, 0.5, seed))
        left, sizes = {int(w) for w in listed}, []
        alone = {w for w in left if not any(w ^ (1 << j) in left for j in range(dim))}
        while left:
            todo, size = [left.pop()], 0
            while todo:
                w, size = todo.pop(), size + 1
                near = {w ^ (1 << j) for j in range(dim)} & left
                left -= near
                todo += near
            sizes.append(size)
        assert cluster_sizes(listed, dim).tolist() == sorted(sizes, reverse=True)
        assert set(listed[isolated(listed, dim)].tolist()) == alone


@pytest.mark.parametrize("dim", [1, 3, 7, 9])
def test_the_test_error_is_that_on_all_patterns(dim):
    everyone = every_student(dim)
    answers = everyone @ everyone.T > 0  # of every student, on every pattern
    wrong = (answers != answers[:1]).mean(axis=1)
    apart = distances(np.arange(2**dim, dtype=np.uint32), np.uint32(0))
    np.testing.assert_allclose(error_at(dim)[apart], wrong, rtol=1e-12)
    assert error_at(101)[25] == pytest.approx(np.arccos(1 - 50 / 101) / np.pi, abs=0.02)


def test_annealing_at_one_temperature_ends_in_the_law_of_gibbs():
    instance = draw_instance(7, 5, 1.0, seed=3)
    errors = (fields(instance) < 0).sum(axis=1)
    beta, runs = 0.8, 4000
    weights = np.exp(-beta * errors)
    patterns = np.repeat(signs(instance.patterns, 7)[None], runs, axis=0)
    w = anneal(patterns, range(runs), 1, np.full(30, beta), np.zeros(30))
    found = errors[pack((w[:, 0] > 0).astype(np.int64))]
    expected = (weights * errors).sum() / weights.sum()
    assert abs(found.mean() - expected) < 5 * found.std(ddof=1) / np.sqrt(runs)
    assert abs(errors.mean() - expected) > 10 * found.std(ddof=1) / np.sqrt(runs)


def test_replicas_without_errors_attract_each_other_by_their_coupling():
    runs, dim, coupling = 2000, 5, 1.2
    silent = np.zeros((runs, 1, dim), np.int8)  # no pattern is ever wrong
    w = anneal(silent, range(runs), 3, np.zeros(30), np.full(30, coupling)).astype(int)
    states = every_student(3)
    energy = np.square(states.sum(axis=1)) / 2 * coupling / 3  # pairs, up to a constant
    expected = (np.exp(energy) * states[:, 0] * states[:, 1]).sum() / np.exp(energy).sum()
    found = (w[:, 0] * w[:, 1]).ravel()
    assert abs(found.mean() - expected) < 5 * found.std(ddof=1) / np.sqrt(runs * dim)


def mixed():
    searches = (Uniform(), Densest(2), Annealing(sweeps=20), Annealing(3, sweeps=20))
    return [
        trial(dim=dim, n_train=n, label_noise=noise, search=search, seed=seed)
        for search in searches
        for dim, n in ((7, 3), (11, 5), (11, 14))
        for noise in (0.0, 1.0)
        for seed in range(3)
    ]


def test_a_student_is_the_same_alone_and_in_any_batch():
    trials = mixed()
    batch = PerceptronTrial.train_together(trials)
    for k, one in enumerate(trials):
        alone = PerceptronTrial.train_together([one])
        for name, inner in one.declared.items():
            length = tuple(len(values) for values in inner.values())
            ours = batch[name].values[k][tuple(slice(n) for n in length)]
            assert np.array_equal(ours, alone[name].values[0], equal_nan=True), name
    assert (batch.solutions == 0).any() and (batch.solutions > 100).any()
    none = (batch.solutions == 0).values[:36]  # of the oracles, which come first
    assert np.array_equal(np.isnan(batch.test_error.values[:36]), none)


def test_what_is_found_is_what_it_is_said_to_be():
    shown = PerceptronTrial.train_together(mixed())
    for k, one in enumerate(mixed()):
        row = shown.isel(student=k)
        listed = solutions(draw_instance(one.dim, one.n_train, one.label_noise, one.seed))
        assert row.solutions == len(listed)
        if isinstance(one.search, Annealing):
            assert bool(row.interpolated) == (float(row.local_entropy[0]) == 0.0)
            assert bool(row.interpolated) == (float(row.train_error) == 0.0)
        elif len(listed):
            assert row.interpolated == 1.0
    densest = [row for row in zip(mixed(), range(72), strict=True) if row[0].search == Densest(2)]
    for one, k in densest:
        listed = solutions(draw_instance(one.dim, one.n_train, one.label_noise, one.seed))
        if len(listed):
            near = (distances(listed[:, None], listed) <= 2).sum(axis=1).max()
            assert np.exp(float(shown.local_entropy[k, 2]) * one.dim) == pytest.approx(near)


def test_the_uniform_choice_is_uniform():
    listed = np.array([3, 5, 9, 12], np.uint32)
    found = np.array([Uniform().choose(listed, 5, seed) for seed in range(4000)])
    counts = np.array([(found == w).sum() for w in listed])
    assert np.all(np.abs(counts - 1000) < 5 * np.sqrt(750))


@pytest.fixture(scope="module")
def small_sweep(tmp_path_factory):
    searches = {
        "uniform": Uniform(),
        "annealing": Annealing(sweeps=50),
        "replicas": Annealing(replicas=15, sweeps=50),
        "densest": Densest(),
    }

    def cell(search, seed):
        return trial(dim=13, n_train=7, search=searches[search], seed=seed)

    sweep = Sweep(cell, search=list(searches), seed=range(350))
    folder = tmp_path_factory.mktemp("perceptron")
    return run(sweep, folder / "s.zarr", n_jobs=1, progress=False)


def test_a_store_of_perceptrons_is_sound_where_there_are_no_solutions(tmp_path):
    def cell(seed):
        return trial(dim=5, n_train=20, label_noise=1.0, seed=seed)

    sweep = Sweep(cell, seed=range(3))
    results = run(sweep, tmp_path / "s.zarr", n_jobs=1, progress=False)
    assert (results.state == 1).all() and (results.solutions == 0).all()
    assert np.isnan(results.test_error).all()
    assert verify(tmp_path / "s.zarr", 4, sweep).code == 0, "trained again, with the same bits"


def gap(values, one, other):
    """Mean over seeds of a difference, in standard errors; only seeds where both were found."""
    difference = (values.sel(search=one) - values.sel(search=other)).dropna("seed")
    deviation = float(difference.std(ddof=1)) / np.sqrt(difference.sizes["seed"])
    return float(difference.mean()) / deviation


def test_replicas_find_the_dense_solutions_and_these_generalize_better(small_sweep):
    found = small_sweep.where(small_sweep.interpolated == 1.0)
    entropy = found.local_entropy.sel(distance=3)
    assert abs(gap(entropy, "annealing", "uniform")) < 5, "one replica finds what is typical"
    assert gap(entropy, "replicas", "annealing") > 5
    assert gap(entropy, "densest", "replicas") > 5
    better = found.test_error - small_sweep.typical_error  # that of all solutions, exactly
    for search in ("replicas", "densest"):
        ours = better.sel(search=search).dropna("seed")
        assert ours.mean() < -5 * ours.std(ddof=1) / np.sqrt(ours.sizes["seed"])


def test_isolated_solutions_generalize_worse_than_the_typical_one(small_sweep):
    one = small_sweep.sel(search="uniform")
    difference = (one.isolated_error - one.typical_error).dropna("seed")
    assert difference.mean() > 5 * difference.std(ddof=1) / np.sqrt(difference.sizes["seed"])
    uniform = one.test_error - one.typical_error  # two roads to the mean over solutions
    assert abs(uniform.mean()) < 5 * uniform.std(ddof=1) / np.sqrt(350)


def test_trials_are_values():
    one = trial(search=Annealing(replicas=3))
    assert pickle.loads(pickle.dumps(one)) == one != replace(one, seed=1)
    assert "Annealing(replicas=3" in repr(one)
    assert one.sharing_key == trial().sharing_key != trial(label_noise=0.5).sharing_key


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: trial(dim=10), "dim must be odd"),
        (lambda: trial(dim=27), "at most 25"),
        (lambda: trial(n_train=0), "n_train must be a whole number >= 1"),
        (lambda: trial(label_noise=1.5), "label_noise must be a number in [0, 1]"),
        (lambda: trial(label_noise="a"), "got label_noise='a'"),
        (lambda: trial(search="densest"), "search must be Uniform(), Densest() or Annealing()"),
        (lambda: Annealing(replicas=4), "replicas must be odd"),
        (lambda: Annealing(beta=0.0), "beta must be a number > 0"),
        (lambda: Annealing(coupling=-1.0), "coupling must be a number >= 0"),
        (lambda: Annealing(sweeps=0), "sweeps must be a whole number >= 1"),
        (lambda: Densest(0), "radius must be a whole number >= 1"),
    ],
)
def test_a_bad_value_is_refused_with_a_sentence(build, sentence):
    with pytest.raises((TypeError, ValueError)) as refusal:
        build()
    assert sentence in str(refusal.value)
