"""Laws of measures that a trial asks for: they are pure functions of its student."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.test_trial import trial
from tsframe.execution import run
from tsframe.inputs import Gaussian
from tsframe.measures.asking import counted, Measure
from tsframe.measures.learned import Learned, StudentShape
from tsframe.spectra import Sloppy
from tsframe.students.linear import Linear
from tsframe.students.mlp import MLP
from tsframe.sweep import Sweep
from tsframe.teachers import LinearTeacher
from tsframe.training.ridge import Ridge
from tsframe.training.sgd import SGD
from tsframe.training.stopping import BestValidation, ZeroTrainError
from tsframe.trial import train, Trial
from tsframe.verification import verify


@dataclass(frozen=True)
class LayerNorms(Measure):
    """Norm of each layer, and how far all have moved."""

    power: float = 1.0
    mood: str = "well"

    def declare(self, shape: StudentShape) -> Mapping[str, Mapping[str, tuple[float, ...]]]:
        return {"layer_norm": {"layer": counted(shape.depth + 1)}, "moved": {}}

    def flops(self, shape: StudentShape) -> float:
        return 1e6 * shape.parameters

    def bytes(self, shape: StudentShape) -> float:
        return 8.0 * shape.parameters

    def __call__(self, learned: Learned) -> dict[str, np.ndarray]:
        assert all(layer.isfinite().all() for layer in learned.weights)
        if self.mood == "shape":
            return {"layer_norm": np.zeros((1, 1, 1)), "moved": np.zeros(1)}
        norms = [layer.square().sum((1, 2)).numpy() for layer in learned.weights]
        pairs = zip(learned.weights, learned.initial, strict=True)
        moved = sum((now - then).square().sum((1, 2)).numpy() for now, then in pairs)
        moved = np.sqrt(np.asarray(moved))
        return {
            "layer_norm": np.sqrt(np.stack(norms, axis=1)) ** self.power,
            "moved": moved * np.nan if self.mood == "nan" else moved,
        }


@dataclass(frozen=True)
class Doubtful(LayerNorms):
    """May have nothing to say."""

    @property
    def may_lack(self) -> tuple[str, ...]:
        return ("moved",)


def asking(**changes):
    return trial(**(dict(measures=[LayerNorms()]) | changes))


def mixed() -> list[Trial]:
    return [
        asking(student=MLP(width, depth), seed=seed, measure_steps=steps)
        for width, depth in ((8, 1), (5, 2), (3, 0))
        for seed in range(2)
        for steps in ((), (0, 7))
    ]


def test_a_measure_sees_the_weights_that_training_ends_with():
    measured = train([asking()], device="cpu").isel(student=0)
    assert float(measured.moved) == pytest.approx(float(measured.distance_from_init), rel=1e-6)
    total = np.sqrt(np.square(measured.layer_norm.values).sum())
    assert total == pytest.approx(float(measured.weight_norm), rel=1e-12)


def test_a_measure_at_a_step_is_that_of_a_training_of_so_many_steps():
    measured = train([asking(measure_steps=(0, 7, 60))], device="cpu").isel(student=0)
    short = replace(trial().training, max_steps=7)
    shorter = train([asking(training=short)], device="cpu").isel(student=0)
    assert measured.moved_curve.values[0] == 0.0
    np.testing.assert_array_equal(measured.layer_norm_curve.values[1], shorter.layer_norm)
    np.testing.assert_array_equal(measured.layer_norm_curve.values[2], measured.layer_norm)
    assert measured.layer_norm_curve.dims == ("measure_step", "layer")
    assert measured.measure_step.values.tolist() == [0, 7, 60]


def test_who_has_stopped_keeps_its_values():
    done = asking(
        training=replace(trial().training, max_steps=400, stop=ZeroTrainError()),
        measure_steps=(0, 399, 400),
    )
    measured = train([done, asking(student=MLP(2), measure_steps=(0, 60))], device="cpu")
    first = measured.isel(student=0)
    assert first.steps < 399
    np.testing.assert_array_equal(
        first.moved_curve.sel(measure_step=[399, 400]), [float(first.moved)] * 2
    )


def test_who_has_not_gone_on_is_not_measured_again(monkeypatch):
    seen: list[tuple[object, int]] = []
    plain = LayerNorms.__call__

    def noted(measure, learned):
        seen.extend(zip(learned.tasks, learned.steps, strict=True))
        return plain(measure, learned)

    monkeypatch.setattr(LayerNorms, "__call__", noted)
    rules = (None, ZeroTrainError(), BestValidation(50, check_every=30))
    steps, endless = (0, 40, 390, 400), replace(trial().training, max_steps=400)
    for some in (rules[:2], rules[2:]):  # those with validation do not step with the others
        trials = [
            asking(training=replace(endless, stop=rule), measure_steps=steps) for rule in some
        ]
        seen.clear()
        together = train(trials, device="cpu")
        for k, one in enumerate(trials):
            own, result = [step for task, step in seen if task is one], together.isel(student=k)
            end = int(result.steps)
            early = isinstance(one.training.stop, ZeroTrainError)
            assert own == ([0, 40, end] if early else [0, 40, 390, end]) and end not in own[:-1]
            assert float(result.moved) == pytest.approx(float(result.distance_from_init), rel=1e-6)
            assert result.moved_curve.values[-1] == result.moved, "what is kept is the end"
            free = asking(training=replace(trial().training, max_steps=40))
            assert result.moved_curve.values[1] == train([free], device="cpu").moved.item()


def test_measures_do_not_depend_on_mates_steps_or_threads():
    trials = mixed()
    together = train(trials, device="cpu", threads=2)
    for k, one in enumerate(trials):
        alone = train([one], device="cpu", threads=1).isel(student=0)
        ours = together.isel(student=k)
        for name, inner in one.declared.items():
            own = ours[name].sel({dim: list(values) for dim, values in inner.items()})
            np.testing.assert_array_equal(own, alone[name], err_msg=f"{name} of {one}")
        without = train([one.unmeasured], device="cpu").isel(student=0)
        np.testing.assert_array_equal(without.train_loss, ours.train_loss)


def test_vectors_of_other_students_end_in_nan():
    together = train(mixed(), device="cpu")
    depth = np.repeat([1, 2, 0], 4)
    there = np.isfinite(together.layer_norm.values)
    np.testing.assert_array_equal(there, np.arange(3) <= depth[:, None])


def test_who_has_diverged_is_not_measured():
    wild = asking(training=SGD(1e4, max_steps=50), loss="mse", measure_steps=(0,))
    measured = train([wild, asking(measure_steps=(0,))], device="cpu")
    assert measured.diverged.values.tolist() == [True, False]
    assert np.isnan(measured.moved.values).tolist() == [True, False]
    assert measured.moved_curve.values[0, 0] == 0.0, "it had not diverged before its first step"


def test_few_students_at_once_give_the_same(monkeypatch):
    whole = train(mixed(), device="cpu")
    monkeypatch.setattr("tsframe.measures.taking.AT_ONCE", 1.0)
    np.testing.assert_array_equal(whole.layer_norm, train(mixed(), device="cpu").layer_norm)


def test_what_a_trial_asks_for_is_not_what_it_is():
    assert repr(trial()) == repr(trial(measures=[]))
    assert "measures" not in repr(trial()) and "LayerNorms" in repr(asking())
    assert asking(measure_steps=(0,)).unmeasured == trial()
    assert pickle.loads(pickle.dumps(asking())) == asking()
    assert asking().flops > trial().flops
    assert asking(measure_steps=(0, 1)).flops - asking().flops == pytest.approx(
        2 * (asking().flops - trial().flops)
    )


def test_a_store_gains_a_measure_and_keeps_the_rest(tmp_path):
    def cell(width, seed):
        return trial(student=MLP(width), seed=seed)

    def more(width, seed):
        return asking(student=MLP(width), seed=seed, measure_steps=(0,))

    axes = dict(width=[3, 6], seed=range(2))
    before = run(Sweep(cell, **axes), tmp_path / "s.zarr", n_jobs=1, device="cpu").load()
    after = run(Sweep(more, **axes), tmp_path / "s.zarr", n_jobs=1, device="cpu").load()
    np.testing.assert_array_equal(before.test_error, after.test_error)
    assert after.layer_norm_curve.dims == ("width", "seed", "measure_step", "layer")
    assert np.isfinite(after.moved).all()


def test_a_measure_may_lack_a_number_only_if_it_says_so(tmp_path):
    for kind, settled in ((Doubtful, True), (LayerNorms, False)):
        sweep = Sweep(lambda seed, k=kind: asking(measures=[k(mood="nan")], seed=seed), seed=[0])
        store = tmp_path / f"{kind.__name__}.zarr"
        results = run(sweep, store, n_jobs=1, device="cpu", progress=False)
        assert bool(np.isfinite(results.test_error).all()) == settled
        assert verify(store, 3).code == 0, "what a cell may lack is no damage"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (dict(measures=LayerNorms()), "measures must be a list of measures, e.g. [Margins()]; got"),
        (dict(measures=["norms"]), "measures must hold specs such as Margins(); got 'norms'."),
        (dict(measures=[LayerNorms(), LayerNorms(2.0)]), "two of the measures give 'layer_norm'"),
        (dict(measure_steps=(3, 1)), "measure_steps must be ascending integers >= 0; got (3, 1)."),
        (dict(measure_steps=(0, 61)), "measure_steps must not pass max_steps=60; got 61."),
        (dict(measures=(), measure_steps=(0,)), "ask for nothing without measures."),
        (
            dict(
                inputs=Gaussian(dim=20, spectrum=Sloppy(0.1)),
                teacher=LinearTeacher(),
                label_noise=0.0,
                student=Linear(),
                training=Ridge(0.0),
            ),
            "students of Ridge take none",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_a_sentence(changes, sentence):
    with pytest.raises((TypeError, ValueError)) as refusal:
        asking(**changes)
    assert sentence in str(refusal.value)


def test_a_measure_must_give_what_it_declares():
    with pytest.raises(ValueError, match="declared 'layer_norm' of lengths"):
        train([asking(measures=[LayerNorms(mood="shape")])], device="cpu")
