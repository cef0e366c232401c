import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tsframe.kept import Kept


def fixed(value: str) -> Callable[[str | None], str]:
    return lambda last: last or value


def never(last: str | None) -> str:
    assert last is not None, "it is not kept"
    return last


def test_a_value_is_made_once_however_many_ask_for_it_at_once() -> None:
    kept: Kept[str] = Kept(limit=100, size=len)
    made, others = [], threading.Event()

    def slowly(last: str | None) -> str:
        if last is None:
            others.wait(0.2)  # in which all others ask
            made.append(1)
        return last or "value"

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda _: kept.get("key", slowly), range(6))) == ["value"] * 6
    assert len(made) == 1


def test_who_asks_for_something_else_does_not_wait() -> None:
    kept: Kept[str] = Kept(limit=100, size=len)
    begun, done = threading.Event(), threading.Event()

    def slowly(last: str | None) -> str:
        begun.set()
        assert done.wait(10), "the other one waited"
        return "slow"

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(kept.get, "slow", slowly)
        assert begun.wait(10)
        assert kept.get("quick", fixed("quick")) == "quick"
        done.set()
        assert slow.result() == "slow"


def test_what_was_used_last_is_kept_up_to_the_limit() -> None:
    kept: Kept[str] = Kept(limit=10, size=len)
    for name in "abc":
        kept.get(name, fixed(3 * name))
    assert kept.bytes == 9
    kept.get("a", never)
    kept.get("d", fixed("ddd"))  # for which b, used longest ago, has to go
    assert kept.bytes == 9
    assert [kept.get(name, never)[0] for name in "acd"] == ["a", "c", "d"]
    with pytest.raises(AssertionError, match="it is not kept"):
        kept.get("b", never)
    assert kept.get("e", fixed(20 * "e")) == 20 * "e"  # given, but larger than all that is kept
    with pytest.raises(AssertionError, match="it is not kept"):
        kept.get("e", never)
    assert kept.bytes <= 10


def test_so_many_as_are_needed_at_once_are_kept_however_large() -> None:
    kept: Kept[str] = Kept(limit=10, size=len, least=2)
    for name in "abc":
        kept.get(name, fixed(20 * name))
    assert kept.bytes == 40
    assert kept.get("b", never) + kept.get("c", never) == 20 * "b" + 20 * "c"


def test_a_value_grows_from_what_is_kept_and_counts_as_what_it_is_now() -> None:
    kept: Kept[str] = Kept(limit=10, size=len)
    for _ in range(8):
        kept.get("grows", lambda last: (last or "") + "x")
    assert kept.get("grows", never) == 8 * "x" and kept.bytes == 8


def test_what_fails_is_told_and_leaves_nothing_behind() -> None:
    kept: Kept[str] = Kept(limit=10, size=len)
    kept.get("key", fixed("half"))

    def fails(last: str | None) -> str:
        raise ArithmeticError("no number")

    with pytest.raises(ArithmeticError, match="no number"):
        kept.get("key", fails)
    assert kept.bytes == 0
    assert kept.get("key", fixed("whole")) == "whole"
