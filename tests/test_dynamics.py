"""Training held against laws of motion that are known exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import tsframe
from tsframe import Gaussian, LinearTeacher, MLP, SGD, Sloppy, Trial
from tsframe.samples import draw_samples
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.layout import Layout
from tsframe.students.stack import Stack
from tsframe.training.engine import train_stack
from tsframe.training.losses import Objective
from tsframe.training.minibatches import TrainingSet

STEPS = (0, 1, 2, 5, 20, 100)
TRIAL = Trial(
    inputs=Gaussian(dim=6, spectrum=Sloppy(0.3)),
    teacher=LinearTeacher(noise=0.5),
    student=MLP(1, depth=0),
    training=SGD(lr=0.05, max_steps=STEPS[-1]),
    n_train=15,
    n_test=40,
    curve_steps=STEPS,
    seed=3,
    precision="float64",
)


def regression(trial: Trial) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows with a constant, labels and initial weights of a linear student."""
    assert isinstance(trial.inputs, Gaussian)
    s = draw_samples(trial.inputs, trial.teacher, trial.n_train, trial.n_test, 0.0, trial.seed)
    x, x_test = (np.column_stack([rows, np.ones(len(rows))]) for rows in (s.x_train, s.x_test))
    assert isinstance(trial.student, MLP)
    (initial,) = trial.student.initial_weights(trial.inputs.dim, 1, trial.seed)
    return x, s.y_train, x_test, s.y_test, initial[0]


def test_gradient_descent_on_least_squares_follows_its_law() -> None:
    # w_t = [I - (I - eta H)^t] H^+ X^T y / n + (I - eta H)^t w_0, H = X^T X / n; the loss is the
    # mean square without 1/2, so eta is twice the learning rate.
    x, y, x_test, y_test, initial = regression(TRIAL)
    hessian, n = x.T @ x / len(x), len(x)
    least_squares = np.linalg.pinv(hessian) @ x.T @ y / n
    measured = tsframe.train([TRIAL])
    for k, step in enumerate(STEPS):
        decay = np.linalg.matrix_power(np.eye(len(hessian)) - 2 * 0.05 * hessian, step)
        weights = least_squares - decay @ least_squares + decay @ initial
        train, test = (((x @ weights - y) ** 2).mean(), ((x_test @ weights - y_test) ** 2).mean())
        np.testing.assert_allclose(measured.train_loss_curve.values[0, k], train, rtol=1e-12)
        np.testing.assert_allclose(measured.test_loss_curve.values[0, k], test, rtol=1e-12)


@pytest.mark.parametrize(("share", "stable"), [(0.99, True), (1.01, False)])
def test_gradient_descent_is_stable_below_two_over_the_largest_eigenvalue(
    share: float, stable: bool
) -> None:
    x = regression(TRIAL)[0]
    lr = share / np.linalg.eigvalsh(x.T @ x / len(x))[-1]  # eta = 2 lr
    training = SGD(lr=lr, max_steps=600)
    loss = tsframe.train([replace(TRIAL, training=training, curve_steps=(0, 300, 600))])
    start, middle, end = loss.train_loss_curve.values[0]
    assert (end < middle < start) if stable else (end > middle > start)


def test_one_step_on_the_first_layer_of_a_linear_network_has_rank_one() -> None:
    # W_1 = W_0 + eta a (X^T (y - f))^T / n for f = a^T W x, constants among the inputs.
    trial = replace(TRIAL, student=MLP(7, depth=1, activation="identity"), curve_steps=())
    assert isinstance(trial.student, MLP)
    x, y = regression(TRIAL)[:2]
    first, last = trial.student.initial_weights(6, 1, trial.seed)
    layout = Layout.arrange([0], [(7, 1)], [0], 6, 1, share_rows=True)
    stack = Stack.zeros(layout, ACTIVATIONS["identity"], torch.zeros(0, dtype=torch.float64))
    stack.seat(0, [first, last])
    data = TrainingSet(torch.as_tensor(x)[None], torch.as_tensor(y)[None], [0], len(x))
    steps = train_stack(
        stack,
        data,
        Objective("mse", None),
        [SGD(lr=0.05, max_steps=1)],
        lambda _: layout,
    )
    (layers,) = layout.by_student(list(steps)[-1].stack.weights)
    update = layers[0][0, 0].numpy() - first
    a, outputs = last[0, :-1], x @ first.T @ last[0, :-1] + last[0, -1]
    np.testing.assert_allclose(
        update, 2 * 0.05 * np.outer(a, x.T @ (y - outputs)) / len(x), rtol=1e-10, atol=1e-15
    )
    assert np.linalg.matrix_rank(update, tol=1e-12) == 1
