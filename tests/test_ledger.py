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
