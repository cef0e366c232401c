"""Who is looked at, what the look shows, and who has thereby finished or diverged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tsframe.students.layout import Layout
from tsframe.students.stack import Stack
from tsframe.training.keeping import Kept
from tsframe.training.looking import evaluate, look
from tsframe.training.losses import Objective
from tsframe.training.minibatches import SampleSet, TrainingSet
from tsframe.training.optimizer import Optimizer
from tsframe.training.stopping import Looks

__all__ = ["Judge", "Sight", "Verdict"]

EXPLODED = 1e6  # a loss so many times that of zero outputs counts as divergence


@dataclass(frozen=True, eq=False)
class Sight:
    """What a look at a table shows; shapes (students,), NaN of those who sit elsewhere.

    Attributes
    ----------
    error, loss : ndarray
        Over the training set: whole means of those on whom something hung to the end, of others no
        more than that.
    glance : ndarray
        The part of the first block in the mean loss.
    """

    error: np.ndarray
    loss: np.ndarray
    glance: np.ndarray


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whose training is over; shapes (students,).

    Attributes
    ----------
    finished : ndarray of bool
        Those of `diverged` among them.
    diverged : ndarray of bool
        Loss not finite, or above a million times that of zero outputs.
    """

    finished: np.ndarray
    diverged: np.ndarray


class Judge:
    """Looks at students and says who has finished, each by its own rule and its own budget.

    Parameters
    ----------
    training_set : TrainingSet
        What all are judged on.
    objective : Objective
        Error and loss.
    optimizers : sequence of Optimizer
        Rule and budget of every student.
    arrange : callable
        Seats some of the students anew.
    best : Kept, optional
        The best weights so far of students that are watched on a validation sample.
    validation : SampleSet, optional
        That sample; where there is the one there is the other.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        objective: Objective,
        optimizers: Sequence[Optimizer],
        arrange: Callable[[Sequence[int]], Layout],
        best: Kept | None = None,
        validation: SampleSet | None = None,
    ) -> None:
        self._training_set, self._objective, self._arrange = training_set, objective, arrange
        self._best, self._validation = best, validation
        self._students = len(optimizers)
        self._looks = Looks(
            [spec.stop for spec in optimizers], [spec.max_steps for spec in optimizers]
        )
        unit = [objective.chance_loss(y) or np.inf for y in training_set.targets.cpu()]
        self._most = EXPLODED * np.array(unit)

    def due(self, step: int) -> np.ndarray:
        """Tell who is looked at after so many steps, still in training or not, (students,)."""
        return self._looks.due(step)

    def after(self, step: int) -> int:
        """Give the next step after which somebody is due."""
        return self._looks.after(step)

    def look(self, step: int, stack: Stack, due: np.ndarray, whole: bool) -> Sight:
        """Look at the students of a table for as long as something hangs on it.

        Parameters
        ----------
        step : int
            Steps done.
        stack : Stack
            The students, with normalization folded.
        due : ndarray of bool, shape (students,)
            Who of them will be judged. Of others a look would never learn enough to end.
        whole : bool
            Whether whole means of all are wanted.
        """

        def undecided(error: np.ndarray, loss: np.ndarray, glance: np.ndarray) -> np.ndarray:
            settled = self._looks.settled(step, error, loss) & self._is_sound(glance)
            return np.asarray(due & ~settled)

        asked = None if whole else undecided
        found = look(
            stack, self._training_set, self._objective, self._students, asked, self._arrange
        )
        return Sight(*found)

    def judge(self, step: int, stack: Stack, sight: Sight, due: np.ndarray) -> Verdict:
        """Say who of those due has finished.

        Parameters
        ----------
        step : int
            Steps done.
        stack : Stack
            The students looked at; those watched are seen on their validation sample, too, and the
            best of them kept.
        sight : Sight
            What the look showed.
        due : ndarray of bool, shape (students,)
            Who of them is judged.
        """
        # At first glance, as nobody should depend on how long others are looked at; at the end of a
        # budget everybody is seen on the whole training set.
        sound = self._is_sound(sight.loss) | ~self._looks.ended(step)
        sound &= self._is_sound(sight.glance)
        finished = due & (self._looks.reached(step, sight.error, sight.loss) | ~sound)
        if self._best is not None and self._validation is not None:
            unseen = evaluate(stack, self._validation, self._objective, self._students)[0]
            train = np.stack([sight.error, sight.loss])
            finished |= self._best.look(step, due & sound, stack, unseen, train)
        return Verdict(finished, due & ~sound)

    def _is_sound(self, loss: np.ndarray) -> np.ndarray:
        return np.asarray(np.isfinite(loss) & (np.nan_to_num(loss) <= self._most))
