"""Margins, norms and sharpness: dense roads to the same numbers, closed forms, invariances."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from tsframe.inputs import Gaussian
from tsframe.measures.asking import Measure
from tsframe.measures.capacity import Margins, Norms, Sharpness
from tsframe.measures.landscape import flat, Landscape, layers_of
from tsframe.measures.layer_norms import path_norm, spectral_complexity
from tsframe.measures.margins import margins
from tsframe.measures.sharpness import (
    ascent_sharpness,
    sam_sharpness,
    sublevel_log_volume,
    sublevel_radii,
)
from tsframe.spectra import Sloppy
from tsframe.students.activations import ACTIVATIONS
from tsframe.students.mlp import MLP
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.training.losses import Objective
from tsframe.training.sgd import SGD
from tsframe.trial import train, Trial

ALL: tuple[Measure, ...] = (Margins(quantiles=5), Norms(), Sharpness(directions=4, steps=3))
TRIAL = Trial(
    inputs=Gaussian(dim=6, spectrum=Sloppy(0.2)),
    teacher=Teacher(width=10, classes=3),
    student=MLP(width=5, depth=2),
    training=SGD(lr=0.1, momentum=0.9, batch_size=10, max_steps=60),
    n_train=40,
    n_test=50,
    label_noise=0.2,
    measures=ALL,
)


def landscape(objective, activation="tanh", students=2, depth=2, n=7, seed=0):
    """Some data, and k = 3 places for each of some students."""
    rng = np.random.default_rng(seed)
    sizes = [4, *[5] * depth, objective.classes or 1]
    shapes = tuple((b, a + 1) for a, b in pairwise(sizes))
    x = np.concatenate([rng.normal(size=(students, n, 4)), np.ones((students, n, 1))], axis=2)
    classes = rng.integers(0, objective.classes or 1, (students, n))
    y = classes if objective.classes else rng.normal(size=(students, n))
    some = Landscape(
        shapes, ACTIVATIONS[activation], objective, torch.as_tensor(x), torch.as_tensor(y)
    )
    return some, torch.as_tensor(rng.normal(size=(students, 3, some.size)))


OBJECTIVES = [Objective("cross_entropy", 3), Objective("mse", 3), Objective("mse", None)]
FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


def plainly(some, place, student, activation):
    """Outputs at one place, layer by layer, without batches."""
    h = some.x[student][:, :-1]
    layers = layers_of(place, some.shapes)
    for k, layer in enumerate(layers):
        h = h @ layer[:, :-1].T + layer[:, -1]
        h = FUNCTIONS[activation](h) if k < len(layers) - 1 else h
    return h


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("activation", "depth"), [("tanh", 2), ("relu", 1), ("sigmoid", 0)])
def test_a_landscape_is_the_plain_loss_and_its_gradient(objective, activation, depth) -> None:
    some, places = landscape(objective, activation, depth=depth)
    losses, gradients = some.gradients(places)
    torch.testing.assert_close(losses, some.losses(places), rtol=0, atol=0)
    rows = torch.tensor([[0, 2], [1, 1], [5, 6]])
    for s in range(2):
        for k in range(3):
            place = places[s, k].clone().requires_grad_()
            outputs, y = plainly(some, place, s, activation), some.y[s]
            if objective.loss == "cross_entropy":
                loss = torch.nn.functional.cross_entropy(outputs, y)
            else:
                wanted = torch.eye(3, dtype=torch.float64)[y] if objective.classes else y[:, None]
                loss = (outputs - wanted).square().sum(1).mean()
            (gradient,) = torch.autograd.grad(loss, place)
            torch.testing.assert_close(losses[s, k], loss.detach(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(gradients[s, k], gradient, rtol=1e-10, atol=1e-12)
            if objective.classes:
                wrong = (outputs.argmax(1) != y).double().detach()
            else:
                wrong = (outputs[:, 0] - y).square().detach()
            torch.testing.assert_close(some.errors(places)[s, k], wrong.mean())
            torch.testing.assert_close(some.errors(places, rows)[s, k], wrong[rows[k]].mean())


def test_places_are_the_layers_one_behind_another() -> None:
    some, places = landscape(OBJECTIVES[0])
    assert torch.equal(flat(layers_of(places, some.shapes)), places)


def test_margins_are_the_label_less_the_best_other() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.5, 4.0], [1.0, 3.5]])
    found = margins(logits, torch.tensor([0, 2]))
    assert found.tolist() == [1.0, -0.5]
    assert margins(logits[None].repeat(3, 1, 1), torch.tensor([[0, 2]] * 3)).shape == (3, 2)


def test_the_path_norm_sums_over_paths_and_is_kept_by_rescaling_units() -> None:
    rng = np.random.default_rng(0)
    weights = [torch.as_tensor(rng.normal(size=s)) for s in ((3, 5), (2, 4), (2, 3))]
    total = 0.0
    for o in range(2):
        for j in [*range(2), None]:
            if j is None:
                total += float(weights[2][o, 2]) ** 2
                continue
            for i in [*range(3), None]:
                step = weights[2][o, j] * (weights[1][j, 3] if i is None else weights[1][j, i])
                total += float(step**2 * (1.0 if i is None else weights[0][i].square().sum()))
    assert float(path_norm(weights)) == pytest.approx(math.sqrt(total), rel=1e-12)
    scaled = [w.clone() for w in weights]
    scaled[0][1] *= 3.0
    scaled[1][:, 1] /= 3.0
    assert float(path_norm(scaled)) == pytest.approx(math.sqrt(total), rel=1e-12)


def test_spectral_complexity_is_its_formula() -> None:
    rng = np.random.default_rng(1)
    now, then = ([rng.normal(size=s) for s in ((3, 5), (2, 4))] for _ in range(2))
    ways = [(a - b)[:, :-1] for a, b in zip(now, then, strict=True)]
    norms = [np.linalg.svd(a[:, :-1])[1][0] for a in now]
    moved = [np.linalg.norm(w, axis=1).sum() for w in ways]
    terms = [(m / s) ** (2 / 3) for m, s in zip(moved, norms, strict=True)]
    want = norms[0] * norms[1] * sum(terms) ** 1.5
    found = spectral_complexity(*([torch.as_tensor(a) for a in some] for some in (now, then)))
    assert float(found) == pytest.approx(want, rel=1e-12)


def bowl(curvature, minimum=None):
    """A quadratic loss of places (students, k, weights), and its gradients."""
    h = torch.as_tensor(curvature)
    at = torch.zeros(len(h), dtype=torch.float64) if minimum is None else minimum

    def gradients(places):
        g = (places - at) @ h
        return 0.5 * ((places - at) * g).sum(-1), g

    return lambda places: gradients(places)[0], gradients


def test_radii_and_volume_of_a_bowl_are_those_of_its_ellipsoid() -> None:
    rng, rise = np.random.default_rng(0), 0.3
    values = np.array([2.0, 0.5, 1.0])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    loss, _ = bowl(turn @ np.diag(values) @ turn.T)
    drawn = rng.normal(size=(1, 20_000, 3))
    ways = torch.as_tensor(drawn / np.linalg.norm(drawn, axis=2, keepdims=True))
    center = torch.zeros(1, 3, dtype=torch.float64)
    radii = sublevel_radii(loss, center, ways, rise)
    exact = np.sqrt(2 * rise / np.einsum("kp,p->k", (ways[0].numpy() @ turn) ** 2, values))
    np.testing.assert_allclose(radii[0], exact, rtol=2e-4)
    volume = 4 / 3 * math.pi * np.prod(np.sqrt(2 * rise / values))
    error = np.std(exact**3) / np.mean(exact**3) / math.sqrt(20_000)
    assert abs(float(sublevel_log_volume(radii, 3)) - math.log(volume)) < 5 * error
    # A level for each student, and none that is reached.
    two = sublevel_radii(
        loss, center.repeat(2, 1), ways[:, :4].repeat(2, 1, 1), torch.ones(2) * rise
    )
    torch.testing.assert_close(two[1], radii[0, :4], rtol=0, atol=0)
    assert (sublevel_radii(loss, center, ways[:, :4], 1e9) == 100.0).all()


def test_sharpness_of_a_bowl_is_its_closed_form_and_ascent_finds_the_worst_of_the_ball() -> None:
    rng, radius = np.random.default_rng(2), 0.7
    h = rng.normal(size=(4, 4))
    h = h @ h.T
    minimum = torch.as_tensor(rng.normal(size=4))
    loss, gradients = bowl(h, minimum)
    center = torch.zeros(1, 4, dtype=torch.float64)
    g = h @ (-minimum.numpy())
    unit = g / np.linalg.norm(g)
    step = radius * np.linalg.norm(g) + 0.5 * radius**2 * unit @ h @ unit
    assert float(sam_sharpness(gradients, loss, center, radius)) == pytest.approx(step, rel=1e-12)
    # The maximum in the ball solves (mu - H) d = g with |d| = radius and mu above all eigenvalues.
    values, vectors = np.linalg.eigh(h)
    parts = vectors.T @ g
    mu = brentq(
        lambda m: np.linalg.norm(parts / (m - values)) - radius, values[-1] + 1e-9, 1e4, xtol=1e-14
    )
    d = vectors @ (parts / (mu - values))
    worst = g @ d + 0.5 * d @ h @ d
    ways = torch.as_tensor(np.eye(4)[None, :2])
    found = float(ascent_sharpness(gradients, center, radius, ways, steps=400))
    assert found == pytest.approx(worst, rel=1e-9)
    assert step < found
    # At the minimum itself there is no gradient: one step sees nothing, ascent the top curvature.
    at = minimum[None]
    assert float(sam_sharpness(gradients, loss, at, radius)) == 0.0
    top = float(ascent_sharpness(gradients, at, radius, ways, steps=400))
    assert top == pytest.approx(0.5 * radius**2 * values[-1], rel=1e-9)


def test_measures_of_a_trial_are_what_its_network_says() -> None:
    found = train([TRIAL], device="cpu").squeeze()
    assert found.margin.dims == ("quantile",)
    np.testing.assert_array_equal(found["quantile"], [0, 0.25, 0.5, 0.75, 1])
    assert np.all(np.diff(found.margin) >= 0)
    # The share of negative margins is the train error.
    fine = replace(TRIAL, measures=[Margins(quantiles=40)])
    every = train([fine], device="cpu").squeeze()
    assert abs(float((every.margin < 0).mean()) - float(every.train_error)) < 1.5 / 40
    ratio = found.margin / found.normalized_margin
    np.testing.assert_allclose(ratio, found.spectral_product, rtol=1e-12)
    np.testing.assert_allclose(found.spectral_norm.prod(), found.spectral_product, rtol=1e-12)
    np.testing.assert_allclose(found.frobenius_norm.prod(), found.frobenius_product, rtol=1e-12)
    assert (found.spectral_norm <= found.frobenius_norm).all()
    assert np.all(np.diff(found.sublevel_radius) >= 0)
    assert 0 < float(found.sam_sharpness) <= float(found.ascent_sharpness)


def test_a_student_has_the_same_bits_alone_and_in_any_batch() -> None:
    widths = [replace(TRIAL, student=MLP(w, depth=d)) for w in (3, 5) for d in (0, 1, 2)]
    trials = [replace(t, seed=s) for t in widths for s in range(2)]
    together = train(trials, device="cpu")
    for k in (0, 5, 9):
        alone = train([trials[k]], device="cpu")
        for name in alone.data_vars:
            one, other = alone[name].values[0], together[name].values[k]
            other = other[tuple(map(slice, one.shape))]
            np.testing.assert_array_equal(one, other, err_msg=str(name))


def test_fewer_directions_are_the_first_of_more() -> None:
    few, many = (
        train([replace(TRIAL, measures=[Sharpness(directions=k)])], device="cpu") for k in (2, 6)
    )
    radii = many.sublevel_radius.values[0]
    assert np.isin(np.round(few.sublevel_radius.values[0], 3), np.round(radii, 3)).all()


def test_what_cannot_be_measured_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="margins need classes"):
        replace(TRIAL, teacher=LinearTeacher(), loss=None, label_noise=0.0)
    with pytest.raises(ValueError, match="rise must be a number > 0; got rise=-1"):
        Sharpness(rise=-1.0)
    with pytest.raises(TypeError, match="directions must be a whole number"):
        Sharpness(directions=2.5)  # type: ignore[arg-type] # that is the fault
    with pytest.raises(ValueError, match="quantiles must be a whole number >= 2"):
        Margins(quantiles=1)


def test_regressions_have_norms_and_sharpness() -> None:
    trial = replace(
        TRIAL, teacher=LinearTeacher(noise=0.3), loss=None, label_noise=0.0, measures=ALL[1:]
    )
    found = train([trial], device="cpu").squeeze()
    assert np.isfinite(found.sublevel_radius).all()
    assert 0 < float(found.ascent_sharpness)
