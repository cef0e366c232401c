"""Projections of the way that students go."""

from dataclasses import replace

import numpy as np
import pytest

from tests.measures.learners import assert_same_bits_in_any_batch, learned, TASK
from tsframe.measures.landscape import flat
from tsframe.measures.trajectories import directions, Trajectory
from tsframe.training.sgd import SGD
from tsframe.trial import train


def test_directions_are_unit_vectors_of_the_seed_whatever_their_count():
    few, more = directions(3, 4, 50), directions(3, 9, 50)
    np.testing.assert_array_equal(more[:4], few)
    np.testing.assert_allclose(np.linalg.norm(more, axis=1), 1.0, rtol=1e-14)
    assert np.abs(directions(4, 4, 50) - few).max() > 0.1


def test_projections_are_those_of_the_way_from_initialization():
    some = learned()
    found = Trajectory(projections=5)(some)["weight_projection"]
    way = (flat(some.weights) - flat(some.initial)).numpy()
    for k, task in enumerate(some.tasks):
        np.testing.assert_allclose(found[k], directions(task.seed, 5, 83) @ way[k], rtol=1e-12)


def test_projections_estimate_the_squared_distance_without_bias():
    some = learned(seeds=range(4))
    found = Trajectory(projections=4000)(some)["weight_projection"]
    squares = 83 * found**2
    error = squares.std(1, ddof=1) / np.sqrt(4000)
    exact = (flat(some.weights) - flat(some.initial)).square().sum(1).numpy()
    assert (np.abs(squares.mean(1) - exact) < 5 * error).all()
    assert (np.abs(squares.mean(1) - 1.3 * exact) > 5 * error).all()  # control


def test_a_trajectory_is_followed_step_by_step():
    training = SGD(lr=0.1, batch_size=10, max_steps=6)
    asked = replace(TASK, training=training, measures=[Trajectory()], measure_steps=tuple(range(7)))
    measured = train([asked], device="cpu").isel(student=0)
    curve = measured.weight_projection_curve
    assert curve.dims == ("measure_step", "projection")
    assert (curve[0] == 0.0).all()
    np.testing.assert_array_equal(curve[-1], measured.weight_projection)
    for steps in (2, 5):
        short = replace(asked, training=replace(training, max_steps=steps), measure_steps=())
        there = train([short], device="cpu").isel(student=0)
        np.testing.assert_array_equal(curve[steps], there.weight_projection)


def test_a_student_has_the_same_bits_alone_and_in_any_batch():
    assert_same_bits_in_any_batch(Trajectory(projections=3))


def test_a_trajectory_along_nothing_is_refused():
    with pytest.raises(ValueError, match="projections must be a whole number >= 1; got proj"):
        Trajectory(projections=0)
