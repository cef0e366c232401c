"""Laws of the choice between one thread and several: the clock decides, again and again."""

import pytest

from tsframe.training.sharing import Choice, KEPT, LONGEST, TRIED


def steps(count, seconds, most=2):
    """Take steps that last so long on so many threads; give the threads of each."""
    now, taken = [0.0], list[int]()
    choice = Choice(lambda: now[0])
    for k in range(count):
        taken.append(choice.threads(most(k) if callable(most) else most))
        now[0] += seconds(k, taken[-1])
    return taken


@pytest.mark.parametrize("several, chosen", [(0.6, 2), (1.7, 1), (1.0, 1)])
def test_what_was_faster_is_kept_until_it_is_tried_again(several, chosen):
    taken = steps(2 * TRIED + KEPT, lambda k, threads: several if threads == 2 else 1.0)
    assert taken == [1] * TRIED + [2] * TRIED + [chosen] * KEPT


def test_threads_are_taken_up_when_they_have_become_faster_and_let_go_when_slower():
    taken = steps(20 * KEPT, lambda k, threads: (0.6 if 500 < k < 1200 else 5.0) ** (threads - 1))
    assert sum(taken[:500]) < 520, "only tries"
    assert set(taken[800:1200]) <= {1, 2} and sum(taken[800:1200]) > 760
    assert sum(taken[1400:1600]) < 220


def test_ever_fewer_steps_are_lost_where_one_thread_is_always_better():
    taken = steps(10 * LONGEST, lambda k, threads: 5.0 ** (threads - 1))
    assert sum(taken[-2 * LONGEST :]) <= 2 * LONGEST + 3 * TRIED


def test_with_one_thread_at_hand_there_is_no_choice():
    assert steps(50, lambda k, threads: 1.0, most=1) == [1] * 50
    taken = steps(200, lambda k, threads: 1.0 / threads, most=lambda k: 1 if k < 100 else 3)
    assert set(taken[:100]) == {1} and taken[100:].count(3) == 100 - TRIED
