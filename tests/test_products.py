"""Products behind the first layer: exact slot by slot, whoever computes them."""

import pytest
import torch

from tsframe.students.products import Products, SMALL, SMALL_TRANSPOSED
from tsframe.training.products import ACCURACY, product_route

# (rows, contraction, columns) of a layer of a student, on both sides of the limits, at them, and
# where a dimension is one.
SHAPES = {
    "readout": (10, 31, 128),
    "one_output": (1, 8, 100),
    "one_sample": (10, 31, 1),
    "narrow": (30, 31, 128),
    "at_the_limit": (64, 64, 128),
    "above_it": (65, 64, 128),
    "wide": (150, 151, 100),
    "long": (10, 501, 100),  # here, and below, the two ways differ in bits
    "gradient": (30, 128, 33),
}
assert 64 * 64 * 128 == SMALL and SMALL > SMALL_TRANSPOSED


@pytest.fixture
def alone_on_a_thread():
    found = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(found)


def operands(shape, slots, transposed, dtype):
    rows, inner, columns = shape
    draw = torch.Generator().manual_seed(rows * columns)
    left = torch.randn(slots, rows, inner, generator=draw, dtype=dtype)
    right = torch.randn(slots, columns, inner, generator=draw, dtype=dtype).mT
    return left, right if transposed else right.contiguous()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_matrix_has_the_same_bits_in_any_batch(shape, transposed, dtype, alone_on_a_thread):
    left, right = operands(shape, 9, transposed, dtype)
    with product_route(torch.device("cpu"), str(dtype).removeprefix("torch.")) as route:
        for slots in ([4, 5], [7, 0, 4], [1, 2, 3, 4, 5, 6, 7, 8], [4] * route.min_slots):
            out = torch.full((len(slots), shape[0], shape[2]), torch.nan, dtype=dtype)
            Products().behind(left[slots], right[slots], out)
            whole = torch.full((9, shape[0], shape[2]), torch.nan, dtype=dtype)
            Products().behind(left, right, whole)
            assert torch.equal(out, whole[slots]), slots
            ready = torch.full_like(out, torch.nan)
            again = Products().ready(left[slots], right[slots], ready)
            for _ in range(2):
                again()
            assert torch.equal(ready, out), slots


@pytest.mark.parametrize("transposed", [False, True], ids=["plain", "transposed"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_products_are_those_of_float64_to_float32_accuracy(shape, transposed):
    left, right = operands(shape, 3, transposed, torch.float32)
    with product_route(torch.device("cpu")):
        for multiply in (Products().first, Products().behind):
            out = torch.full((3, shape[0], shape[2]), torch.nan)
            assert multiply(left, right, out) is out
            exact = left.double() @ right.double()
            assert float((out - exact).norm() / exact.norm()) < ACCURACY


def test_the_first_layers_and_those_behind_are_told_apart():
    products = Products()
    assert products.of_weights(0) is products.first
    assert products.of_weights(1) is products.of_weights(2) is products.behind
