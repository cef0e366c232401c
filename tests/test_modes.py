"""Laws of the two modes: what strict promises on a GPU is made of parts that any CPU can test."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_trial import assert_same_bits, trial
from tests.toy import Square
from tsframe.batch import train_batch
from tsframe.execution import run
from tsframe.inputs import Gaussian
from tsframe.opening import open_store
from tsframe.places import place
from tsframe.spectra import Sloppy
from tsframe.students import sums
from tsframe.students.mlp import MLP
from tsframe.sweep import Sweep
from tsframe.teachers import LinearTeacher
from tsframe.training import products
from tsframe.training.adam import Adam
from tsframe.training.entropy_sgd import EntropySGD
from tsframe.training.langevin import Langevin
from tsframe.training.products import _cuda_route, check_route, elementwise, product_route
from tsframe.training.sam import SAM
from tsframe.training.sgd import SGD
from tsframe.training.stopping import BestValidation, ZeroTrainError
from tsframe.trial import train, Trial
from tsframe.verification import verify

CUDA = torch.device("cuda")
PLAIN = SGD(0.1, momentum=0.9, batch_size=20, max_steps=12)
TRAININGS: list[Any] = [
    PLAIN,
    replace(PLAIN, nesterov=True),
    replace(PLAIN, momentum=0.0, stop=ZeroTrainError(check_every=3)),
    replace(PLAIN, stop=BestValidation(rows=30, check_every=4)),
    Adam(0.01, batch_size=20, max_steps=12),
    SAM(PLAIN, radius=0.05),
    SAM(PLAIN, radius=0.05, penalty=0.02),
    Langevin(0.1, 1e-4, batch_size=20, max_steps=12),
    EntropySGD(PLAIN, inner_steps=2),
]


def many() -> list[Trial]:
    """Every optimizer, students normalized and plain, classes and numbers."""
    some = [
        trial(training=training, student=student, seed=seed)
        for training in TRAININGS
        for student in (MLP(5, 2, "tanh"), MLP(9, 2, "tanh"))
        for seed in (0, 1)
    ]
    some += [trial(training=PLAIN, student=MLP(w, 2, batch_norm=True)) for w in (5, 9)]
    some += [trial(training=PLAIN, student=MLP(w), loss="mse") for w in (5, 9)]
    teacher = LinearTeacher(norm=1.0, noise=0.1)
    return some + [trial(training=PLAIN, student=MLP(w), teacher=teacher) for w in (5, 9)]


PRODUCTS = ("mm", "matmul", "einsum", "mv")
SUMS = ("sum", "mean", "softmax", "norm", "var", "std", "prod")


class OnlyElementwise(torch.overrides.TorchFunctionMode):
    """Fails at products of matrices by torch, and at its sums if they are more than one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__
        assert not any(word in name for word in PRODUCTS), name
        if any(word in name for word in SUMS) and isinstance(args[0], torch.Tensor):
            assert args[0].ndim <= 1 or not args[0].is_floating_point(), name
        return func(*args, **kwargs or {})


def test_no_product_of_an_engine_call_goes_past_its_route_and_no_sum_is_torchs(
    like_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(*arguments: Any) -> Any:
        with OnlyElementwise():
            return train_batch(*arguments)

    monkeypatch.setattr("tsframe.together.train_batch", watched)
    assert train(many(), device="cpu").attrs["products"] == "elementwise"
    one = torch.ones(1, 1, 1)
    for fault in (lambda: torch.bmm(one, one), lambda: one.sum(1), lambda: torch.softmax(one, 1)):
        with pytest.raises(AssertionError), OnlyElementwise():
            fault()


def test_products_and_sums_of_a_gpu_train_the_same_students(
    like_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [replace(one, precision="float64") for one in many()]
    there = train(trials, device="cpu")
    monkeypatch.undo()
    here = train(trials, device="cpu")
    for name in ("train_loss", "train_error", "test_loss", "weight_norm", "distance_from_init"):
        np.testing.assert_allclose(there[name], here[name], rtol=1e-10)
    for name in ("steps", "diverged"):
        assert np.array_equal(there[name], here[name])


def test_with_them_a_student_has_the_same_bits_alone(like_a_gpu: None) -> None:
    trials = many()
    together = train(trials, device="cpu")
    for k in range(0, len(trials), 3):
        alone = train([trials[k]], device="cpu").drop_vars("student")
        assert_same_bits(together.isel(student=[k]).drop_vars("student"), alone)


@pytest.mark.parametrize("precision, fused", [("tf32x3", False), ("float32", True)])
def test_the_kernels_train_the_same_students_each_by_itself(
    kernel_device: str, precision: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def route_of_kernels(*_: object) -> Iterator[Any]:
        yield _cuda_route(precision, "strict", torch.device(kernel_device))

    few = SGD(0.1, momentum=0.9, batch_size=20, max_steps=2)
    trials = [trial(training=few, student=MLP(w, 1, "tanh"), n_test=20) for w in (5, 5, 9)]
    if fused:  # with mates that need what others do not
        decayed = replace(few, momentum=0.0, weight_decay=0.1)
        trials[1:1] = [
            trial(training=few, student=MLP(5, 1, "tanh", dropout=0.5), n_test=20),
            trial(training=decayed, student=MLP(4, 2, "tanh"), n_test=20),
            trial(training=decayed, student=MLP(1, 0, "tanh"), n_test=20),
        ]
    here = train(trials, device="cpu")
    monkeypatch.setenv("TSFRAME_RESIDENTS", "0")  # for those see test_residing
    monkeypatch.setattr("tsframe.together.product_route", route_of_kernels)
    monkeypatch.setattr("tsframe.students.sums.ordered", lambda values: True)  # as on a GPU
    refused = None if fused else "not today"
    monkeypatch.setattr(products, "refusal_of_fusions", lambda *_: refused)
    multiply, calls = products.by_kernels, list[str]()

    def counted(*operands: Any, **how: Any) -> Any:
        calls.append(how["precision"])
        return multiply(*operands, **how)

    def watched(*arguments: Any) -> Any:
        with OnlyElementwise():
            return train_batch(*arguments)

    monkeypatch.setattr("tsframe.training.products.by_kernels", counted)
    monkeypatch.setattr("tsframe.together.train_batch", watched)
    there = train(trials, device=kernel_device)
    assert there.attrs["products"] == ("triton fused" if fused else "triton")
    np.testing.assert_allclose(there.train_loss, here.train_loss, rtol=1e-5)
    assert calls and (fused or len(calls) > 2 * 2 * 4), "every product of every step"
    for k in range(len(trials)):
        alone = train(trials[k : k + 1], device=kernel_device).drop_vars("student")
        assert_same_bits(there.isel(student=[k]).drop_vars("student"), alone)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 129])
def test_sums_by_halves_are_sums_and_hang_on_their_length_alone(length: int) -> None:
    values = torch.randn(5, 3, length, generator=torch.Generator().manual_seed(length))
    found = sums.by_halves(values, 2)
    exact = values.double().sum(2, keepdim=True)
    bound = 1e-7 * length**0.5 * values.abs().amax()
    assert (found - exact).abs().max() < max(4.0 * float(bound), 1e-7)
    assert torch.equal(sums.by_halves(values[2:3].clone(), 2), found[2:3])
    assert torch.equal(sums.by_halves(values.movedim(2, 0), 0)[0], found[..., 0])


def test_ordered_softmax_and_its_logarithm_are_those_of_torch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = 30.0 * torch.randn(4, 7, 9, dtype=torch.float64)
    plain = sums.softmax_(logits.clone()), sums.log_total_exp(logits), sums.average(logits)
    monkeypatch.setattr("tsframe.students.sums.ordered", lambda values: True)
    mine = sums.softmax_(logits.clone()), sums.log_total_exp(logits), sums.average(logits)
    for one, other in zip(mine, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-15)
    exploded = torch.tensor([[[torch.inf], [1.0]], [[torch.nan], [0.0]]])
    assert not sums.log_total_exp(exploded).isfinite().any()


def test_the_elementwise_product_is_the_product_and_every_slot_is_its_own() -> None:
    draws = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*shape, generator=draws) for shape in ((4, 6, 31), (4, 31, 5)))

    def multiply(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        out = torch.full((len(one), one.shape[1], other.shape[2]), torch.nan)
        assert elementwise(one, other, out) is out
        return out

    found, exact = multiply(left, right), left.double() @ right.double()
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5)
    assert torch.equal(multiply(left[2:3, 1:2], right[2:3]), found[2:3, 1:2])
    assert torch.equal(multiply(right.mT, left.mT).mT, found)


@pytest.mark.parametrize(
    ("precision", "mode", "sentence"),
    [
        ("float32", "strict", "mode='strict' on 'cuda' needs kernels of our own, which cannot be"),
        ("tf32x3", "strict", "precision='tf32x3' on 'cuda' needs kernels of our own"),
        ("tf32x3", "fast", "Use precision='float32' with mode='fast'"),
        ("float32", "quick", "mode must be strict or fast; got mode='quick'."),
    ],
)
def test_a_gpu_without_kernels_promises_nothing(
    precision: str, mode: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tsframe.training.products.refusal", lambda *_: "they are blunt.")
    with pytest.raises(ValueError) as refusal:
        check_route(CUDA, precision, mode)
    assert sentence in str(refusal.value)
    assert mode == "quick" or "they are blunt." in str(refusal.value)
    check_route(CUDA, "float32", "fast")
    monkeypatch.setattr("tsframe.training.products.refusal", lambda *_: None)
    if mode != "quick":
        check_route(CUDA, precision, mode)


def test_tf32_is_off_while_a_gpu_trains_and_whoever_turns_it_on_is_told() -> None:
    matmul = torch.backends.cuda.matmul
    found = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        with product_route(CUDA, "float32", "fast") as route:
            assert matmul.fp32_precision == "ieee" and route.name == "cublas" and not route.strict
        assert matmul.fp32_precision == "tf32"
        with (
            pytest.raises(RuntimeError, match="was set to 'tf32' while students were trained"),
            product_route(CUDA, "float32", "fast"),
        ):
            matmul.fp32_precision = "tf32"
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = found


def test_on_the_cpu_fast_is_strict() -> None:
    strict, fast = (train([trial()], device="cpu", mode=mode) for mode in ("strict", "fast"))
    assert_same_bits(strict, fast)
    assert strict.attrs["mode"] == fast.attrs["mode"] == "strict"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (dict(mode="exact"), "mode must be strict or fast; got mode='exact'."),
        (
            dict(trials=[trial(precision="tf32x3")]),
            "precision='tf32x3' is a way to multiply on CUDA devices; this one is 'cpu'.",
        ),
    ],
)
def test_what_a_cpu_cannot_do_is_refused_with_a_sentence(
    arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError) as refusal:
        train(**(dict(trials=[trial()], device="cpu") | arguments))
    assert sentence in str(refusal.value)


def test_a_run_on_the_wrong_device_ends_before_a_cell_fails(tmp_path: Any) -> None:
    sweep = Sweep(lambda seed: trial(seed=seed, precision="tf32x3"), seed=range(2))
    with pytest.raises(RuntimeError, match="is a way to multiply on CUDA devices"):
        run(sweep, tmp_path / "s.zarr", n_jobs=1, device="cpu")
    assert (open_store(tmp_path / "s.zarr").state == 0).all(), "all cells are still to do"


def test_mode_precision_products_and_device_stand_in_the_store(tmp_path: Any) -> None:
    sweep = Sweep(lambda seed: trial(seed=seed, training=PLAIN), seed=range(2))
    opened = run(sweep, tmp_path / "s.zarr", n_jobs=1, device="cpu", mode="fast")
    assert opened.attrs["mode"] == "strict", "what held"
    assert {"precision", "products", "device"} <= set(opened.attrs)
    assert '"mode": "fast"' in (tmp_path / "s.zarr" / "runs" / "1.json").read_text(), (
        "what was asked"
    )
    assert verify(place(tmp_path / "s.zarr"), 4, sweep, device="cpu").code == 0


def test_a_store_from_before_there_were_modes_goes_on(tmp_path: Any) -> None:
    def sweep(seeds: int) -> Sweep:
        return Sweep(lambda seed: trial(seed=seed, training=PLAIN), seed=range(seeds))

    path = tmp_path / "s.zarr"
    old = run(sweep(2), path, n_jobs=1, device="cpu")
    for file in (path / "runs").glob("1*.json"):
        facts = json.loads(file.read_text())
        facts.pop("mode", None)
        file.write_text(json.dumps(facts))
    assert "mode" not in open_store(path).attrs
    engine = path / "runs" / "1.engine.json"
    assert open_store(path).attrs["device"] == json.loads(engine.read_text())["device"]
    assert verify(place(path), 4, sweep(2), device="cpu").code == 0
    grown = run(sweep(3), path, n_jobs=1, device="cpu")
    assert (grown.state == 1).all()
    assert_same_bits(grown[["train_loss"]].isel(seed=slice(2)), old[["train_loss"]])
    engine.write_text(json.dumps(json.loads(engine.read_text()) | {"mode": "fast"}))
    assert open_store(path).attrs["mode"] == "fast; strict", "of all runs"


def test_trials_that_know_no_mode_are_strict_or_refused(tmp_path: Any) -> None:
    sweep = Sweep(lambda seed: Square(float(seed)), seed=range(2))
    with pytest.raises(ValueError, match="Square trials know no mode='fast'; leave it at 'strict'"):
        run(sweep, tmp_path / "s.zarr", n_jobs=1, mode="fast")
    with pytest.raises(ValueError, match="mode must be strict or fast; got mode='slow'"):
        run(sweep, tmp_path / "s.zarr", n_jobs=1, mode="slow")
    assert not (tmp_path / "s.zarr").exists()
    run(sweep, tmp_path / "s.zarr", n_jobs=1)


def test_what_counts_as_divergence_is_the_students_own_affair() -> None:
    # Labels a thousand times larger beside it must not make its own explosion look small.
    wild = SGD(0.9, batch_size=100, max_steps=6)
    inputs = Gaussian(dim=20, spectrum=Sloppy(0.0))
    small, large = (
        trial(teacher=LinearTeacher(norm=norm), training=wild, student=MLP(8, 0), inputs=inputs)
        for norm in (1e-2, 1e3)
    )
    alone = train([small], device="cpu")
    together = train([small, large], device="cpu").isel(student=[0])
    assert_same_bits(alone.drop_vars("student"), together.drop_vars("student"))
