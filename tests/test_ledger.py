import zlib
from typing import Any

import numpy as np
import pytest

from tsframe.ledger import ATTEMPTS, digests, pending, settled, State


@pytest.mark.parametrize("state", State)
def test_a_settled_cell_is_never_pending(state: State) -> None:
    rows = np.array([[float(state), attempts, 1, 0, 0, 0] for attempts in range(4)])
    assert not (settled(rows) & pending(rows, retry_failed=True)).any()
    assert (settled(rows) | pending(rows, retry_failed=True)).all()


def test_a_failed_cell_is_pending_until_it_has_begun_often_enough() -> None:
    rows = np.array([[float(State.FAILED), attempts, 1, 0, 0, 0] for attempts in range(4)])
    assert pending(rows).tolist() == [attempts < ATTEMPTS for attempts in range(4)]


def test_a_digest_is_made_as_the_format_says() -> None:
    nan = np.array([0x7FF8000000000001], np.uint64).view(np.float64)[0]  # another bit pattern
    measures = {"b": np.array([1.5, nan]), "a": np.array([[1.0, 2.0], [3.0, 4.0]])}
    axes: dict[str, Any] = {"slope": (0.5,), "kind": ("relu",), "flip": (True,), "seed": (3, 4)}
    plain = (
        b"flip\0" + np.int64(1).tobytes() + b"kind\0relu\0" + b"seed\0" + np.int64(4).tobytes()
        + b"slope\0" + np.float64(0.5).tobytes()
        + b"a\0" + np.array([3.0, 4.0]).tobytes() + b"b\0" + np.float64(np.nan).tobytes()
    )  # fmt: skip
    assert digests(axes, np.array([0, 1]), measures)[1] == zlib.crc32(plain)


def test_many_digests_at_once_are_those_of_zlib_one_by_one() -> None:
    rng = np.random.default_rng(0)
    axes: dict[str, Any] = {
        "slope": (0.1, -0.0, 1e300),
        "kind": ("a", "bcd", "ef\u00e9", "xyz"),
        "flip": (True, False),
        "seed": (0, 2**53, -5),
    }
    cells = rng.permutation(72)[:50]
    measures = {
        "scalar": rng.normal(size=50),
        "short": rng.normal(size=(50, 3)),
        "long": rng.normal(size=(50, 5, 8)),  # more bytes than go through all rows at once
        "none": np.zeros((50, 0)),
    }
    measures["short"][7, 1] = np.nan
    places = np.unravel_index(cells, [len(values) for values in axes.values()])
    for k, digest in enumerate(digests(axes, cells, measures)):
        values = {name: axes[name][p[k]] for name, p in zip(axes, places, strict=True)}
        raw = b""
        for name in sorted(values):
            value = values[name]
            form = np.float64 if isinstance(value, float) else np.int64
            text = value.encode() + b"\0" if isinstance(value, str) else form(value).tobytes()
            raw += name.encode() + b"\0" + text
        for name in sorted(measures):
            raw += name.encode() + b"\0" + measures[name][k].tobytes()
        assert digest == zlib.crc32(raw)
    assert digests(axes, cells[:0], {n: v[:0] for n, v in measures.items()}).shape == (0,)
