"""Alignment of kernels and of gradients, against autograd and students equal to their teacher."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from tests.measures.learners import assert_same_bits_in_any_batch, learned, TASK
from tests.measures.networks import jacobian as by_weights, network, outputs_of
from tests.measures.test_hessian_spectra import REGRESSION
from tsframe.arrays import ArrayInputs, OwnLabels
from tsframe.measures.alignment import (
    centered,
    cosine,
    cosine_distance,
    gradient_matrix,
    label_kernel,
    mean_tangent_kernel,
    NTKAlignment,
    teacher_gradient_matrix,
    TeacherAlignment,
)
from tsframe.measures.learned import Learned
from tsframe.measures.sensitivities import forward
from tsframe.measures.tangent import tangent_kernel
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.mlp import MLP
from tsframe.training.losses import Objective

CLASSES, NUMBERS = Objective("cross_entropy", 3), Objective("mse", None)


def drawn_teachers(some: Learned) -> list[Any]:
    return [cast(Any, task.teacher).draw(task.inputs, task.seed) for task in some.tasks]


def inputs(n=7, dim=5):
    return torch.as_tensor(np.random.default_rng(0).standard_normal((n, dim)))


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_tangent_kernel_is_that_of_the_dense_jacobian(depth):
    weights, x = network(depth), inputs()
    j = by_weights(lambda w: outputs_of(w, "tanh", x), weights).view(7, 3, -1)
    want = torch.einsum("iap,jap->ij", j, j) / 3
    passed = forward(weights, ACTIVATIONS["tanh"], x)
    torch.testing.assert_close(mean_tangent_kernel(passed), want, rtol=1e-12, atol=1e-12)
    rates = [(0.5 + layer, 2.0 - layer) for layer in range(depth + 1)]
    every = tangent_kernel(weights, ACTIVATIONS["tanh"], x, rates)[0].reshape(7, 3, 7, 3)
    found = mean_tangent_kernel(passed, rates)
    np.testing.assert_allclose(found, np.einsum("iaja->ij", every) / 3, rtol=1e-12, atol=1e-12)


def test_kernel_alignment_follows_its_definition():
    some = learned()
    found = NTKAlignment(probe=20)(some)
    h = np.eye(20) - 1 / 20
    for k, sample in enumerate(some.samples):
        x = torch.as_tensor(sample.x_train[:20])
        now, then = (
            mean_tangent_kernel(forward([w[k] for w in layers], some.activation, x)).numpy()
            for layers in (some.weights, some.initial)
        )
        one_hot = np.eye(3)[sample.y_train[:20]]
        ours, theirs = h @ now @ h, h @ one_hot @ one_hot.T @ h
        want = (ours * theirs).sum() / np.linalg.norm(ours) / np.linalg.norm(theirs)
        assert found["kernel_target_alignment"][k] == pytest.approx(want, rel=1e-10)
        drift = 1 - (now * then).sum() / np.linalg.norm(now) / np.linalg.norm(then)
        assert found["kernel_distance"][k] == pytest.approx(drift, abs=1e-12)
        assert drift > 0.01
    unmoved = NTKAlignment()(learned(away=0.0))
    np.testing.assert_allclose(unmoved["kernel_distance"], 0.0, atol=1e-14)


def test_a_small_distance_of_kernels_keeps_its_digits():
    kernel = torch.eye(5, dtype=torch.float64)
    assert cosine_distance(kernel, kernel.clone()) == 0.0
    assert np.isnan(cosine_distance(kernel, 0.0 * kernel))
    moved = kernel.clone()
    moved[0, 1] = moved[1, 0] = 1e-9  # 1 - 1 / sqrt(1 + 2 e^2 / 5) = e^2 / 5
    assert cosine_distance(kernel, 3.0 * moved) == pytest.approx(1e-18 / 5, rel=1e-6)
    far = torch.ones_like(kernel)
    assert cosine_distance(kernel, far) == pytest.approx(1.0 - cosine(kernel, far), rel=1e-14)


def test_a_kernel_of_the_labels_is_aligned_with_them_up_to_scale_and_shift():
    labels = torch.tensor([0, 1, 2, 2, 1, 0, 0])
    target = centered(label_kernel(labels, CLASSES))
    assert cosine(centered(5.0 * label_kernel(labels, CLASSES) + 3.0), target) == pytest.approx(1.0)
    values = torch.arange(5, dtype=torch.float64)
    np.testing.assert_allclose(label_kernel(values, NUMBERS), np.outer(values, values))
    assert torch.equal(
        label_kernel(torch.tensor([0, 1, 0]), CLASSES)[0], torch.tensor([1.0, 0, 1]).double()
    )


@pytest.mark.parametrize("classes", [True, False])
def test_a_gradient_matrix_is_that_of_autograd(classes):
    weights, x = network(2), inputs()

    def outputs(row):
        z = outputs_of(weights, "tanh", row[None])[0]
        return z - z.mean() if classes else z

    want = sum(j.T @ j for j in (jacobian(outputs, row) for row in x)) / 7
    found = gradient_matrix(forward(weights, ACTIVATIONS["tanh"], x), classes)
    torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-12)


def test_the_gradients_of_a_teacher_are_those_of_its_logits():
    task = learned().tasks[0]
    (teacher,) = drawn_teachers(learned(seeds=[0]))
    x, step = inputs(dim=6).numpy(), 1e-5
    slopes = np.stack(
        [
            (teacher.logits(x + step * e) - teacher.logits(x - step * e)) / (2 * step)
            for e in np.eye(6)
        ],
        axis=2,
    )  # (n, classes, dim)
    slopes -= slopes.mean(1, keepdims=True)
    want = np.einsum("nad,nae->de", slopes, slopes) / 7
    found = teacher_gradient_matrix(task, torch.as_tensor(x))
    assert found is not None
    np.testing.assert_allclose(found, want, rtol=1e-7, atol=1e-7 * np.abs(want).max())


def test_a_student_equal_to_its_teacher_is_aligned_with_it():
    some = learned(replace(TASK, student=MLP(8, depth=1, activation="tanh")))
    layers = [np.stack([teacher.weights[k] for teacher in drawn_teachers(some)]) for k in range(2)]
    biased = [np.concatenate([w, np.ones_like(w[:, :, :1])], 2) for w in layers]
    biased[0][:, :, -1] = 0.0
    equal = replace(some, weights=[torch.as_tensor(w) for w in biased])
    found = TeacherAlignment()(equal)
    for name in ("teacher_alignment", "gradient_overlap"):
        np.testing.assert_allclose(found[name], 1.0, rtol=1e-12)
    assert found["gradient_overlap"].shape == (3, 2)  # classes less one
    far = TeacherAlignment()(some)
    assert (far["teacher_alignment"] < 0.95).all()
    np.testing.assert_array_equal(far["random_teacher_overlap"], np.tile([1 / 6, 2 / 6], (3, 1)))


def test_a_linear_student_sees_the_line_of_its_teacher():
    some = learned(replace(REGRESSION, student=MLP(1, depth=0)))
    theta = np.stack([teacher.theta for teacher in drawn_teachers(some)])
    weights = [torch.as_tensor(np.concatenate([2.0 * theta, np.ones((3, 1))], 1)[:, None])]
    found = TeacherAlignment(directions=3)(replace(some, weights=weights))
    for name in ("gradient_overlap", "weight_overlap"):
        np.testing.assert_allclose(found[name][:, 0], 1.0, rtol=1e-12)
        assert np.isnan(found[name][:, 1:]).all()  # a line has one direction
    np.testing.assert_allclose(found["teacher_alignment"], 1.0, rtol=1e-12)
    away = learned(replace(REGRESSION, student=MLP(1, depth=0)))
    overlap = TeacherAlignment()(away)["weight_overlap"][:, 0]
    cosines = [
        (row @ line) / np.linalg.norm(row) / np.linalg.norm(line)
        for row, line in zip(away.weights[0][:, 0, :-1].numpy(), theta, strict=True)
    ]
    np.testing.assert_allclose(overlap, np.square(cosines), rtol=1e-12)


def test_a_first_layer_sees_its_leading_right_singular_vectors():
    some = learned()
    found = TeacherAlignment(probe=20)(some)["weight_overlap"]
    for k, (sample, task) in enumerate(zip(some.samples, some.tasks, strict=True)):
        seen = np.linalg.svd(some.weights[0][k, :, :-1].numpy())[2][:2]
        teacher = teacher_gradient_matrix(task, torch.as_tensor(sample.x_train[:20]))
        assert teacher is not None
        theirs = np.linalg.eigh(teacher.numpy())[1][:, ::-1][:, :2].T
        squares = (seen @ theirs.T) ** 2
        np.testing.assert_allclose(found[k], [squares[0, 0], squares.sum() / 2], rtol=1e-9)


def test_labels_without_a_teacher_have_nothing_to_align_with():
    rng = np.random.default_rng(0)
    rows = ArrayInputs(rng.standard_normal((60, 6)), rng.integers(0, 3, 60))
    some = learned(replace(TASK, inputs=rows, teacher=OwnLabels(classes=3), n_train=20))
    measure = TeacherAlignment()
    found = measure(some)
    for name in measure.may_lack:
        assert np.isnan(found[name]).all()


@pytest.mark.parametrize("measure", [NTKAlignment(11), TeacherAlignment()], ids=["ntk", "teacher"])
def test_a_student_has_the_same_bits_alone_and_in_any_batch(measure):
    assert_same_bits_in_any_batch(measure)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="probe must be a whole number >= 2; got probe=1"):
        NTKAlignment(probe=1)
    with pytest.raises(ValueError, match="directions must be a whole number >= 1"):
        TeacherAlignment(directions=0)
