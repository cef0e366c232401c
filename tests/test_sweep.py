import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import torch

from tests.toy import Laden, Locked, Named, Odd, Ragged, Square
from tsframe.axes import axis_values
from tsframe.chunks import Grid
from tsframe.ledger import State
from tsframe.sweep import Sweep


def square(slope: Any, seed: Any) -> Square:
    return Square(slope + seed)


def test_the_parameters_of_the_function_are_the_axes() -> None:
    sweep = Sweep(square, slope=np.array([0.1, 0.2, 0.3], np.float32).astype(float), seed=range(2))
    assert sweep.dims == ("slope", "seed")
    assert sweep.shape == (3, 2)
    assert sweep.size == 6
    assert len(list(sweep.cells())) == 6
    assert [sweep.cell(i) for i in range(6)] == list(sweep.cells())
    assert sweep.trial(slope=0.5, seed=2) == Square(2.5)
    assert sweep.trials()[1] == Square(
        float(sweep.axes["slope"][0]) + 1
    )  # the last axis runs fastest


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.geomspace(1, 2, 3), float),
        (np.arange(3, dtype=np.int32), int),
        (range(3), int),
        ((True, False), bool),
        (np.array([True, False]), bool),
        (["relu", "tanh"], str),
        (np.array(["relu", "tanh"]), str),
        ([np.float32(0.5), np.float32(1.5)], float),
    ],
)
def test_the_function_receives_plain_values(values: Any, kind: type) -> None:
    assert all(type(value) is kind for value in axis_values("slope", values))


def test_a_parameter_with_a_default_need_not_be_an_axis() -> None:
    def trial(slope: float, width: int = 3) -> Square:
        return Square(slope * width)

    assert Sweep(trial, slope=[2.0]).trials() == (Square(6.0),)


BAD_AXES: dict[str, tuple[Any, str]] = {
    "empty": ([], "axis 'slope' has no values"),
    "repeated": ([0.1, 0.2, 0.3, 0.1], "axis 'slope': 0.1 stands at positions 0 and 3"),
    "two zeros": ([0.0, -0.0], "axis 'slope': -0.0 stands at positions 0 and 1 (there as 0.0)"),
    "one ulp apart": (
        [0.3, 0.1 + 0.2],
        "axis 'slope': 0.3 and 0.30000000000000004 differ by 1 ulp; keep one",
    ),
    "none": ([0.1, 0.2, None], "axis 'slope': None at position 2; an axis holds all floats"),
    "nan": ([0.1, np.nan], "axis 'slope': nan at position 1; values must be finite"),
    "infinite": ([np.inf], "axis 'slope': inf at position 0; values must be finite"),
    "complex": ([1j], "axis 'slope': 1j at position 0; an axis holds all floats"),
    "tuple": ([(1, 2)], "axis 'slope': (1, 2) at position 0"),
    "bytes": ([b"a"], "axis 'slope': b'a' at position 0"),
    "date": (np.array(["2026-01-01"], "datetime64[D]"), "axis 'slope': datetime.date(2026"),
    "tensor": (torch.linspace(0, 1, 3), "axis 'slope': tensor(0.) at position 0; an axis holds"),
    "mixed": ([0.0, 1], "0.0 at position 0 is of type float and 1 at position 1 of type int"),
    "bool and int": (
        [True, 2],
        "at position 0 is of type bool and 2 at position 1 of type int",
    ),
    "too large": ([2**53 + 1], "axis 'slope': 9007199254740993 does not fit float64 exactly"),
    "set": ({1, 2}, "axis 'slope' is a set, which has no order; pass a list"),
    "dict": ({1: 2}, "axis 'slope' is a dict"),
    "2-d": (np.ones((2, 2)), "axis 'slope' is an array with 2 dimensions"),
    "bare string": ("relu", "axis 'slope' is the bare string 'relu'; pass a list, ['relu']"),
    "single value": (0.1, "axis 'slope' is the single value 0.1; pass a list, [0.1]"),
    "empty string": ([""], "axis 'slope': '' at position 0 is empty"),
    "nul": (["b", "a\0"], r"axis 'slope': 'a\x00' at position 1 holds NUL"),
    "surrogate": (["\ud800"], "holds a surrogate"),
    "long string": (["x" * 256], "has more than 255 bytes"),
    "decimal": ([Decimal("0.1")], "axis 'slope': Decimal('0.1') at position 0; an axis holds all"),
    "enum": ([State.DONE], "axis 'slope': <State.DONE: 1> at position 0; an axis holds all floats"),
    "more than double": (np.array([0.1], "longdouble"), "at position 0; an axis holds all floats"),
    "same up to form": (["\u00e9", "e\u0301"], "stands at positions 0 and 1 (there as '\u00e9')"),
    "same up to case": (["relu", "ReLU"], "'ReLU' stands at positions 0 and 1 (there as 'relu')"),
}


@pytest.mark.parametrize("case", BAD_AXES)
def test_a_bad_axis_is_refused_with_its_place(case: str) -> None:
    values, sentence = BAD_AXES[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        Sweep(lambda slope: Square(0.0), slope=values)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("seeds", [[-1], [0.0], [True], ["a"]])
def test_seeds_are_integers_from_zero(seeds: Any) -> None:
    with pytest.raises(ValueError, match=r"axis 'seed' holds .*; seeds are integers >= 0"):
        Sweep(lambda seed: Square(0.0), seed=seeds)


@pytest.mark.parametrize(
    "name", ["ledger", "error", "state", "student", "_slope", "x" * 101, "", "a.b", "class", "a b"]
)
def test_an_axis_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ValueError, match=f"axis '{name}'"):
        axis_values(name, [1])


BAD_FUNCTIONS: dict[str, tuple[Callable[..., Any], str]] = {
    "typing error": (
        lambda slope, seed: None,
        "<lambda> has no parameter 'slpoe'; did you mean 'slope'?",
    ),
    "varargs": (lambda *slpoe: None, "takes '*slpoe'; the parameters of a sweep function are"),
    "keywords": (lambda **slpoe: None, "takes '**slpoe'; the parameters of a sweep function are"),
    "positional": (lambda slpoe, /: None, "Name each of them, none positional-only"),
    "missing": (lambda slpoe, depth: None, "<lambda> needs 'depth', which is not an axis"),
}


@pytest.mark.parametrize("case", BAD_FUNCTIONS)
def test_function_and_axes_must_agree(case: str) -> None:
    function, sentence = BAD_FUNCTIONS[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        Sweep(function, slpoe=[1])
    assert sentence in str(caught.value)


def test_a_sweep_needs_a_function_and_an_axis() -> None:
    with pytest.raises(TypeError, match="needs a function from axis values to a trial; got 3"):
        Sweep(3, slope=[1])  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ValueError, match="needs at least one axis"):
        Sweep(lambda: None)


def failing(slope: float) -> Square:
    if slope > 0.1:
        raise ArithmeticError("slope is too steep")
    return Square(slope)


BAD_TRIALS: dict[str, tuple[Callable[[float], Any], str]] = {
    "raises": (failing, "fails at cell (slope=0.2): ArithmeticError: slope is too steep"),
    "none": (lambda slope: None, "returned None for cell (slope=0.1); it must return a Trial"),
    "forgotten": (lambda slope: None, "Did you forget `return`?"),
    "number": (lambda slope: 3, "returned 3 for cell (slope=0.1)"),
    "two kinds": (
        lambda slope: Odd(slope) if slope > 0.1 else Square(slope),
        "of cell (slope=0.1) is a Square, that of (slope=0.2) a Odd",
    ),
    "other steps": (
        lambda slope: Named(slope, names=(("curve", (("step", (slope,)),)),)),
        "of cells (slope=0.1) and (slope=0.2) declare different measures: 'curve' has other coord",
    ),
    "other lengths": (
        lambda slope: Named(
            slope, names=(("curve", (("step", (3.0, 4.0) if slope > 0.1 else (1.0,)),)),)
        ),
        "'curve' has inner lengths {'step': 1} and {'step': 2}",
    ),
    "free": (lambda slope: Square(slope, work=0.0), "gives flops=0.0; its cost must be finite"),
    "nothing": (lambda slope: Named(slope), "declare no measures"),
    "axis": (lambda slope: Named(slope, names=(("slope", ()),)), "measure 'slope' is also an"),
    "slash": (
        lambda slope: Named(slope, names=(("a/b", ()),)),
        "measure 'a/b': \"/\" is not allowed (xarray would drop it without error)",
    ),
    "reserved": (lambda slope: Named(slope, names=(("ledger", ()),)), "measure 'ledger' has a"),
    "inner axis": (
        lambda slope: Named(slope, names=(("curve", (("slope", (1.0,)),)),)),
        "inner dim 'slope' of 'curve' is also an axis",
    ),
    "two lengths": (
        lambda slope: Named(
            slope,
            names=(("curve", (("step", (1.0,)),)), ("margins", (("step", (1.0, 2.0)),))),
        ),
        "measures 'curve' and 'margins' give 'step' lengths 1 and 2",
    ),
    "same up to case": (
        lambda slope: Named(slope, names=(("loss", ()), ("Loss", ()))),
        "'loss' and 'Loss' differ in case only",
    ),
    "axis up to case": (
        lambda slope: Named(slope, names=(("Slope", ()),)),
        "'slope' and 'Slope' differ in case only",
    ),
    "lock": (lambda slope: Locked(slope), "trial of cell (slope=0.1) cannot be sent to workers"),
}


@pytest.mark.parametrize("case", BAD_TRIALS)
def test_a_bad_trial_is_refused_while_planning(case: str) -> None:
    function, sentence = BAD_TRIALS[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        Sweep(function, slope=[0.1, 0.2]).trials()
    assert sentence in str(caught.value)


def test_a_heavy_trial_is_named_with_what_it_weighs(caplog: pytest.LogCaptureFixture) -> None:
    def trial(seed: int, size: int) -> Named:
        return Named(seed, names=(("square", ()),), folder="x" * size)

    Sweep(trial, seed=[1], size=[9_900_000]).trials()
    assert not caplog.text
    Sweep(trial, seed=[1], size=[1, 25_000_000]).trials()
    assert "the trial of cell (seed=1, size=25000000) takes 25 MB to send to a work" in caplog.text


def test_arrays_that_a_trial_holds_are_weighed_without_a_copy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = np.zeros(2_000_000)
    Sweep(lambda seed: Laden(seed, load=data), seed=[0, 1]).trials()
    assert "the trial of cell (seed=0) takes 16 MB to send to a worker" in caplog.text


@pytest.mark.parametrize(("short", "warned"), [(5, False), (6, True)])
def test_vectors_that_are_mostly_padding_are_named(
    caplog: pytest.LogCaptureFixture, short: int, warned: bool
) -> None:
    # one vector of 100 numbers and some of 10: 6 x 100 are 4 times 150, 7 x 100 more than 4 x 160
    Sweep(lambda seed: Ragged(1.0, width=10 if seed else 100), seed=range(short + 1)).trials()
    text = "'spectrum' has 10 to 100 numbers a cell; padded to the longest it takes 4 times as many"
    assert (text in caplog.text) == warned
    assert "square" not in caplog.text


def test_too_many_cells_are_refused_before_any_trial_is_built() -> None:
    sweep = Sweep(lambda a, b: failing(1.0), a=range(10_000), b=range(10_000))
    with pytest.raises(ValueError, match=r"1e\+08 cells \(a 10000 x b 10000\), limit 1e\+07"):
        sweep.trials()


def test_a_sweep_is_known_by_its_trials_not_by_its_words() -> None:
    def same(slope: float) -> Square:  # with a comment
        return Square(slope)

    def other(slope: float) -> Square:
        return Square(slope, scale=2.0)

    axes = {"slope": [0.1, 0.2]}
    one = Sweep(lambda slope: Square(slope), **axes).fingerprint
    assert Sweep(same, **axes).fingerprint == one
    assert Sweep(other, **axes).fingerprint != one
    assert Sweep(same, slope=[0.1, 0.3]).fingerprint != one


def test_the_source_of_the_function_is_kept() -> None:
    assert Sweep(square, slope=[0.1], seed=[0]).source == (
        "def square(slope: Any, seed: Any) -> Square:\n    return Square(slope + seed)\n"
    )


def test_trials_travel_where_the_function_cannot() -> None:
    sweep = Sweep(lambda slope: Square(slope), slope=[0.1])
    assert pickle.loads(pickle.dumps(sweep.trials())) == sweep.trials()


@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 5)])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_chunks_cover_each_cell_once(shape: tuple[int, ...], length: int) -> None:
    grid = Grid(shape, tuple(min(length, n) for n in shape))
    cells = np.concatenate([grid.cells(number) for number in range(len(grid))])
    assert sorted(cells.tolist()) == list(range(np.prod(shape)))
    owners = np.empty(shape, int)
    for number in range(len(grid)):
        owners[grid.block(number)] = number
    assert (owners == grid.of_cells()).all()
    assert all((np.unique(owners.flat[grid.cells(n)]) == n).all() for n in range(len(grid)))


@pytest.mark.parametrize("chunk", [(0, 1), (4, 1), (1,)])
def test_a_chunk_fits_its_grid(chunk: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 <= chunk <= shape"):
        Grid((3, 4), chunk)
