"""Certificates of trained students: they hold, are put together as they say, and are repeatable."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from tests.test_capacity import TRIAL
from tsframe.inputs import Gaussian
from tsframe.measures import capacity, certificates, effective
from tsframe.measures.bound_methods import (
    AnalyticPosterior,
    DiagonalPosterior,
    FisherPosterior,
    FisherPrior,
)
from tsframe.measures.bound_search import Method
from tsframe.measures.certificates import PACBayes
from tsframe.measures.effective import EffectiveDimension
from tsframe.spectra import Sloppy
from tsframe.students.mlp import MLP
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.theory import coverage, effective_dimension, pac_bayes_certificate, union_penalty
from tsframe.training.sgd import SGD
from tsframe.training.stopping import ZeroTrainError
from tsframe.trial import train, Trial

METHODS: tuple[Method, ...] = (
    AnalyticPosterior(axes=20),
    DiagonalPosterior(steps=25),
    FisherPosterior(steps=25, axes=20),
    FisherPosterior(steps=24, axes=20, rounds=3),
    FisherPrior(steps=25, axes=20, held_out=0.25),
)
NAMES = ("analytic", "diagonal", "fisher", "moving_fisher", "fisher_prior")
SMALL = Trial(
    inputs=Gaussian(dim=8, spectrum=Sloppy(0.2)),
    teacher=Teacher(width=10, classes=2),
    student=MLP(width=4, depth=1),
    training=SGD(lr=0.1, momentum=0.9, batch_size=20, max_steps=400, stop=ZeroTrainError()),
    n_train=200,
    n_test=1000,
    label_noise=0.1,
    measures=[PACBayes(method, draws=200) for method in METHODS],
)


def test_a_certificate_is_put_together_from_its_parts() -> None:
    found = train([SMALL], device="cpu").squeeze()
    for name, method in zip(NAMES, METHODS, strict=True):
        assert method.name == name
        j = 10.0 * (math.log(10.0) - 2.0 * math.log(float(found[f"{name}_prior"])))
        assert j == pytest.approx(round(j), abs=1e-9)
        n = 150 if name == "fisher_prior" else 200
        draws = 300 if name == "fisher_prior" else 200
        parts = found[f"{name}_train_error"], draws, found[f"{name}_kl"]
        bound = float(found[f"{name}_bound"])
        least = pac_bayes_certificate(*parts, union_penalty(round(j), n, 0.025), n, 0.01)
        if name == "fisher_prior":  # its second scale is paid for, too
            assert bound > float(least)
        else:
            assert bound == pytest.approx(float(least), rel=1e-12)
        # The true risk knows the label noise: no classifier is below it.
        assert 0.05 < float(found[f"{name}_risk"]) < bound < 1.0


def test_certificates_hold_over_data_sets_and_their_training_errors_do_not() -> None:
    found = train([replace(SMALL, seed=s) for s in range(12)], device="cpu")
    for name in NAMES:
        bound, risk = (found[f"{name}_{part}"] for part in ("bound", "risk"))
        assert float(coverage(bound, risk, over="student").share) == 1.0
        sampled = coverage(found[f"{name}_train_error"], risk, over="student")
        assert float(sampled.high) < 0.965  # control: without KL it is no certificate


@pytest.mark.slow
def test_measured_coverage_of_every_certificate_is_at_least_what_it_promises() -> None:
    trials = [
        replace(SMALL, n_train=n, seed=s, inputs=Gaussian(8, Sloppy(slope)))
        for n in (30, 200)
        for slope in (0.0, 0.5)
        for s in range(25)
    ]
    found = train(trials, device="cpu")
    for name in NAMES:
        held = coverage(found[f"{name}_bound"], found[f"{name}_risk"], over="student")
        assert float(held.low) >= 1.0 - 0.035, (name, held)


def test_a_search_lowers_the_bound_of_the_analytic_posterior() -> None:
    measures = [PACBayes(m, draws=2000) for m in (AnalyticPosterior(), DiagonalPosterior())]
    found = train([replace(SMALL, measures=measures, label_noise=0.0)], device="cpu").squeeze()
    assert float(found.diagonal_bound) < float(found.analytic_bound) - 0.02


def test_fitting_random_labels_is_certified_to_be_worthless() -> None:
    trial = replace(SMALL, label_noise=1.0, student=MLP(width=30), n_train=60)
    found = train([trial], device="cpu").squeeze()
    for name in NAMES:
        assert float(found[f"{name}_bound"]) > 0.5
        assert abs(float(found[f"{name}_risk"]) - 0.5) < 1e-12


def test_a_certificate_has_the_same_bits_alone_and_in_any_batch() -> None:
    trials = [
        replace(SMALL, student=MLP(width=w, depth=d), seed=s)
        for w, d in ((4, 1), (3, 2))
        for s in range(2)
    ]
    together = train(trials, device="cpu")
    for k in (0, 3):
        xr.testing.assert_identical(
            train([trials[k]], device="cpu").drop_vars("student").drop_attrs(),
            together.isel(student=[k]).drop_vars("student").drop_attrs(),
        )


def test_students_in_one_call_have_the_numbers_of_students_one_by_one(monkeypatch) -> None:
    # As on a GPU, where all students of a shape go through one product.
    trials = [
        replace(SMALL, measures=[*SMALL.measures, *TRIAL.measures], label_noise=noise, seed=s)
        for s, noise in ((0, 0.0), (1, 0.2), (2, 0.2))
    ]
    alone = train(trials, device="cpu")

    def all_at_once(learned):
        yield slice(0, len(learned.tasks)), learned.weights, learned.initial

    for module in (certificates, capacity, effective):
        monkeypatch.setattr(module, "one_by_one", all_at_once)
    together = train(trials, device="cpu")
    for name in alone.data_vars:
        one, other = alone[name], together[name]
        np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-9, err_msg=str(name))


def test_effective_dimension_is_that_of_the_dense_gauss_newton_matrix() -> None:
    for trial in (
        replace(TRIAL, measures=[EffectiveDimension(precision=2.0)]),
        replace(
            TRIAL,
            measures=[EffectiveDimension(precision=2.0)],
            teacher=LinearTeacher(noise=0.2),
            loss=None,
            label_noise=0.0,
            n_train=200,
        ),
    ):
        found = train([trial], device="cpu").squeeze()
        kept: list[np.ndarray] = []

        class Spy(EffectiveDimension):
            def __call__(self, learned, kept=kept):
                from tsframe.measures.hessian import Curvature, dense

                s = learned.samples[0]
                curvature = Curvature(
                    learned.weights,
                    learned.activation,
                    torch.as_tensor(s.x_train)[None],
                    torch.as_tensor(s.y_train)[None],
                    learned.objective,
                )
                matrix = dense(curvature.gauss_newton, 1, curvature.parameters, learned.weights[0])
                kept.append(np.linalg.eigvalsh(matrix[0].numpy()))
                return super().__call__(learned)

        again = train([replace(trial, measures=[Spy(precision=2.0)])], device="cpu").squeeze()
        assert float(again.effective_dimension) == float(found.effective_dimension)
        want = float(effective_dimension(kept[0], trial.n_train, 2.0))
        assert float(found.effective_dimension) == pytest.approx(want, rel=1e-9)
        count = np.sum(kept[0] >= 2.0 / (2 * (trial.n_train - 1)))
        assert float(found.effective_dimensionality) == count > 0


def test_what_cannot_be_bounded_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="a PAC-Bayes bound of the error rate needs classes"):
        replace(SMALL, teacher=LinearTeacher(), loss=None, label_noise=0.0)
    with pytest.raises(ValueError, match="leaves 7 rows to the bound and 2 to the prior"):
        replace(SMALL, n_train=9, training=SGD(lr=0.1, max_steps=5))
    with pytest.raises(ValueError, match=r"delta must be a number > 0 and < 1; got delta=1\.5"):
        PACBayes(delta=1.5)
    with pytest.raises(TypeError, match="method must be AnalyticPosterior"):
        PACBayes(method="diagonal")  # type: ignore[arg-type] # that is the fault
    with pytest.raises(ValueError, match=r"held_out must be a number in \(0, 1\)"):
        FisherPrior(held_out=1.0)
    with pytest.raises(ValueError, match="rounds must be a whole number >= 1"):
        FisherPosterior(rounds=0)
