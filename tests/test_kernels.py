"""Laws of the products of our own: accurate, and every student's numbers its own."""

import ast
import inspect
from pathlib import Path

import pytest
import torch

from tsframe.students.activations import ACTIVATIONS
from tsframe.training.kernels import trust
from tsframe.training.losses import Objective

fusions = pytest.importorskip("tsframe.training.kernels.fusions")
tiles = pytest.importorskip("tsframe.training.kernels.tiles")
losses = pytest.importorskip("tsframe.training.kernels.losses")
products = pytest.importorskip("tsframe.training.kernels.products")

IMPORTS = (ast.Import, ast.ImportFrom)
SIZES = [(1, 1, 1), (17, 33, 1), (1, 17, 33), (33, 1, 17), (65, 40, 66)]  # rows, terms, columns


def drawn(device, *shapes):
    generator = torch.Generator().manual_seed(len(shapes))
    return [torch.randn(*shape, generator=generator).to(device) for shape in shapes]


def error(found, exact):
    return float((found.double() - exact).norm() / exact.norm())


def exactly(left, right):
    return left.double() @ right.double()


@pytest.mark.parametrize("rows, terms, columns", SIZES)
@pytest.mark.parametrize("precision", ["ieee", "tf32x3"])
def test_products_are_those_of_float64(kernel_device, rows, terms, columns, precision):
    left, right, out = drawn(
        kernel_device, (2, rows, terms), (2, terms, columns), (2, rows, columns)
    )
    exact = 0.5 * exactly(left, right) + 0.25 * out.double()
    assert products.bmm(left, right, out, alpha=0.5, beta=0.25, precision=precision) is out
    assert error(out, exact) < trust.ACCURACY[precision]
    out.fill_(torch.nan)  # not read where beta is zero
    products.bmm(left, right, out, precision=precision)
    assert error(out, exactly(left, right)) < trust.ACCURACY[precision]


def test_operands_of_any_strides_are_read_and_nothing_else_is_written(kernel_device):
    room, right, kept = drawn(kernel_device, (40, 3, 18), (1, 20, 33), (3, 40, 44))
    left, right = room.permute(1, 2, 0)[:, :, ::2], right.expand(3, -1, -1)
    before, out = kept.clone(), kept.mT[:, 3:39:2, 5:38]
    products.bmm(left, right, out)
    assert error(out, exactly(left, right)) < 1e-6
    out.copy_(before.mT[:, 3:39:2, 5:38])
    assert torch.equal(kept, before)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("groups, places, units", [(2, 1, 17), (2, 3, 5)])
def test_activations_ride_on_products(kernel_device, activation, groups, places, units):
    """As students see it: their first layers are one wide product, what follows is padded."""
    slots, samples = groups * places, 33
    wide, inputs, back, delta = drawn(
        kernel_device,
        (groups, places * units, 19),
        (groups, samples, 19),
        (slots, 4, units + 1),
        (slots, 4, samples),
    )
    wide *= torch.logspace(-6, 1, places * units)[:, None].to(kernel_device)  # of all sizes
    z, padded = torch.empty(groups, places * units, samples), torch.ones(slots, units + 1, samples)
    z, padded = z.to(kernel_device), padded.to(kernel_device)
    value, seats = padded[:, :units], (groups, places)
    if places > 1:
        value = value.unflatten(0, seats)
    products.activated_bmm(wide, inputs.mT, z, value, activation, wide=places > 1)
    exact = exactly(wide, inputs.mT)
    assert error(z, exact) < 1e-6
    exact, phi = z.double(), ACTIVATIONS[activation]
    phi.value(exact, right := torch.empty_like(exact))
    torch.testing.assert_close(value.reshape(z.shape), right.float(), rtol=1e-6, atol=1e-9)
    assert (padded[:, units] == 1).all()

    pulled = back.mT[:, :units]
    at = z.unflatten(1, (places, units)) if places > 1 else z
    products.pulled_bmm(pulled, delta, value, at, activation)
    phi.pullback_(exactly(pulled, delta).reshape(z.shape), right, exact)
    assert error(z, exact) < 1e-6
    if activation != "identity":  # not the product alone
        assert error(exactly(pulled, delta).reshape(z.shape), exact) > 0.1


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_student_that_diverged_is_seen(kernel_device, activation):
    left = torch.full((1, 1, 1), torch.nan, device=kernel_device)
    out, value = torch.zeros_like(left), torch.zeros_like(left)
    products.activated_bmm(left, torch.ones_like(left), out, value, activation)
    assert out.isnan() and value.isnan()


@pytest.mark.parametrize("momentum, nesterov", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("decays", [False, True])
def test_sgd_rides_on_its_gradient(kernel_device, momentum, nesterov, decays):
    left, samples, weights, velocity, rates, decay, momenta = drawn(
        kernel_device,
        (2, 5, 20),
        (2, 7, 20),
        *[(2, 5, 7)] * 3,
        *[(2, 5, 1)] * 2,
    )
    gradient = exactly(left, samples.mT) + decay * weights.double() * decays
    kept = momenta * momentum * velocity.double() + gradient
    along = gradient + momenta * kept if nesterov else kept
    moved, before = weights.double() - rates * along, velocity.clone()
    result = products.followed_bmm(
        left,
        samples.mT,
        velocity,
        weights,
        rates,
        momenta=momenta if momentum else None,
        decays=decay if decays else None,
        nesterov=nesterov,
    )
    assert result is weights and error(weights, moved) < 1e-6
    assert error(velocity, kept) < 1e-6 if momentum else torch.equal(velocity, before)


@pytest.mark.parametrize("precision", ["ieee", "tf32x3"])
def test_a_device_is_trusted_whose_bits_hang_on_nothing_else(kernel_device, precision):
    device = torch.device(kernel_device)
    assert trust._fault(device, precision, (70, 17, 17)) is None


def test_what_is_compiled_hangs_on_the_shape_of_a_student_alone(monkeypatch):
    names, launched = inspect.signature(products.multiply.fn).parameters, []

    class Recorder:
        def __getitem__(self, grid):
            return lambda *operands, **options: launched.append((operands, options))

    monkeypatch.setattr(products, "multiply", Recorder())
    for wide, batches in ((False, [(1, 10), (50, 10)]), (True, [(1, 10), (3, 10), (2, 96)])):
        for samples in (32, 33):
            launched.clear()
            for slots, rows in batches:
                left, right = torch.ones(slots, rows, 21), torch.ones(slots, 21, samples)
                products.bmm(left, right, torch.ones(slots, rows, samples), wide=wide)
            options = [options for _, options in launched]
            assert all(other == options[0] for other in options)
            assert options[0]["RIGHT_BY"] == (16 if samples == 32 else 1)
            told = [
                {
                    name: (number == 1, number % 16 == 0)
                    for name, number in zip(names, operands, strict=False)
                    if isinstance(number, int) and name not in tiles.OF_THE_BATCH
                }
                for operands, _ in launched
            ]
            assert len(told[0]) > 10 and all(other == told[0] for other in told)


@pytest.mark.parametrize("outputs, samples", [(1, 1), (3, 33), (17, 130)])
@pytest.mark.parametrize("loss, classes", [("cross_entropy", True), ("mse", True), ("mse", False)])
def test_gradients_of_losses_are_those_of_float64(kernel_device, outputs, samples, loss, classes):
    objective = Objective(loss, outputs if classes else None)
    logits, targets = drawn(kernel_device, (samples, 4, outputs), (4, samples))
    logits = 30.0 * logits.permute(1, 2, 0)
    if classes:
        targets = (1e6 * targets.abs()).long() % outputs
    exact = objective.gradient_(logits.double(), targets if classes else targets.double())
    apart = logits[2:3].contiguous()
    assert losses.gradient_(objective, logits, targets) is logits
    assert error(logits, exact) < 1e-6 or outputs == 1  # softmax of one is zero
    torch.testing.assert_close(logits, exact.float(), rtol=1e-5, atol=1e-7 / samples)
    assert torch.equal(losses.gradient_(objective, apart, targets[2:3]), logits[2:3])


def test_a_loss_that_is_not_finite_stays_so(kernel_device):
    logits = torch.tensor([[[torch.nan, 1.0], [0.0, 2.0]]], device=kernel_device)
    targets = torch.zeros(1, 2, dtype=torch.int64, device=kernel_device)
    losses.gradient_(Objective("cross_entropy", 2), logits, targets)
    assert logits[0, :, 0].isnan().all() and logits[0, :, 1].isfinite().all()
    with pytest.raises(ValueError, match="logits must be float32 of shape"):
        losses.gradient_(Objective("mse", 2), logits, targets[:, :1])


def rounded(left, right):
    """Multiply so that every number is its own, but for its last bit in rare cases."""
    return exactly(left, right).float()


def tf32(operand):
    """Cut the mantissa to 10 bits, as tensor cores do."""
    return (operand.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


def lifted(product):
    """Make the bits hang on the place in a tile."""
    product[:, 8:] *= 1 + 2e-7
    return product


FAULTS = {
    "relative error": lambda left, right: rounded(tf32(left), tf32(right)),
    "slot": lambda left, right: rounded(left, right) * (1 + 2e-7 * (len(left) > 1)),
    "slot ": lambda left, right: rounded(left, right) + 1e-6 * torch.isnan(left).any(),
    "row": lambda left, right: lifted(rounded(left, right)),
    "nothing": rounded,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_device_is_refused(monkeypatch, fault):
    def bmm(left, right, out, *, precision, wide):
        return out.copy_(FAULTS[fault](left, right))

    monkeypatch.setattr(products, "bmm", bmm)
    found = trust._fault(torch.device("cpu"), "tf32x3", (75, 33, 17))
    assert found is None if fault == "nothing" else fault.strip() in str(found)


def test_what_rides_on_products_is_trusted(kernel_device):
    assert fusions.fault(torch.device(kernel_device), "ieee", 1e-6) is None


def amplified(method, *out):
    """Make a fault of one method: what it writes is off by more than rounding."""

    def wrong(self, *operands):
        getattr(fusions._Plain(), method)(*operands)
        for place in out:
            operands[place].mul_(1.0 + 1e-5)

    return wrong


def selfish(self, left, right, velocity, weights, rates, momenta, *rest):
    fusions._Plain().follow(left, right, velocity, weights, rates, momenta, *rest)
    weights.mul_(1.0 + 2e-7 * (momenta is None))


def crowded(self, left, right, out, value, *rest):
    fusions._Plain().activate(left, right, out, value, *rest)
    value.mul_(1.0 + 2e-7 * (len(left) > 1))


FAULTY = {
    "of pre-activations": ("activate", amplified("activate", 2)),
    "of hidden values": ("activate", amplified("activate", 3)),
    "of pulled gradients": ("pull", amplified("pull", 3)),
    "of gradients to logits": ("descend", amplified("descend", 1)),
    "of steps": ("follow", amplified("follow", 3)),
    "of velocities": ("follow", amplified("follow", 2)),
    "hang on the momentum or decay of others": ("follow", selfish),
    "hang on the batch": ("activate", crowded),
}


@pytest.mark.parametrize("words", FAULTY)
def test_a_device_that_spoils_what_rides_on_products_is_refused(monkeypatch, words):
    for method in ("activate", "pull", "follow", "descend"):
        plain = getattr(fusions._Plain, method)
        monkeypatch.setattr(fusions.KernelFusions, method, plain)
    assert fusions.fault(torch.device("cpu"), "ieee", 1e-6) is None
    monkeypatch.setattr(fusions.KernelFusions, *FAULTY[words])
    assert words in str(fusions.fault(torch.device("cpu"), "ieee", 1e-6))


def test_where_kernels_cannot_run_there_is_a_reason(monkeypatch):
    ask, cpu = trust.refusal.__wrapped__, torch.device("cpu")
    with monkeypatch.context() as patch:
        patch.setattr("triton.knobs.runtime.interpret", False)
        assert ask(cpu) == "kernels need a CUDA device; got cpu."
    with monkeypatch.context() as patch:
        patch.setattr("triton.knobs.runtime.interpret", True)
        patch.setattr(products, "bmm", lambda *operands, **options: 1 / 0)
        assert ask(cpu) == "ZeroDivisionError: division by zero"
        patch.setattr("importlib.util.find_spec", lambda name: None)
        assert ask(cpu) == "Triton is not installed."


def test_what_would_be_misread_is_refused():
    left, right, out = torch.ones(2, 3, 4), torch.ones(2, 4, 5), torch.ones(2, 3, 5)
    for operands in (
        (left, right, out[:1]),
        (left, right.mT, out),
        (left[0], right, out),
        (left, right, out.mT),
        (left, right[:1], out),
    ):
        with pytest.raises(ValueError, match="must have shapes"):
            products.bmm(*operands)
    with pytest.raises(ValueError, match="must be float32 on one device"):
        products.bmm(left, right.double(), out)
    with pytest.raises(ValueError, match="precision must be one of ieee, tf32x3; got 'tf32'"):
        products.bmm(left, right, out, precision="tf32")


WITHOUT_TRITON = {f"tsframe.training.kernels.{name}" for name in ("rehearsal", "room", "trust")}


def test_nothing_imports_triton_before_a_kernel_is_wanted():
    package, folder = Path(trust.__file__).parents[2], Path(trust.__file__).parent
    for path in sorted(package.rglob("*.py")):
        first = [n for n in ast.parse(path.read_text("utf-8")).body if isinstance(n, IMPORTS)]
        names = {a.name for n in first if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in first if isinstance(n, ast.ImportFrom)}
        kernels = {n for n in names if n.startswith(("triton", "tsframe.training.kernels"))}
        lazy = f"tsframe.training.kernels.{path.stem}" in WITHOUT_TRITON or path.parent != folder
        assert not lazy or kernels <= WITHOUT_TRITON, path
