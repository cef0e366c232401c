"""A trial is every number that decides a result; `train` turns trials into a Dataset.

This is where the two halves of tsframe meet: the science half draws data, trains and measures; the
sweep half knows a trial only by what its properties tell (what it shares with others, what it
costs, what it will measure).
"""

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import xarray as xr

from tsframe.arrays import ArrayInputs, check_rows, OwnLabels
from tsframe.augmentations import Augmentation, check_augmentation
from tsframe.batch import (
    check_steps,
    MEASURES,
    MEASURES_OF_CLASSES,
    MEASURES_OVER_STEPS,
    StepTask,
)
from tsframe.checks import later, repr_of, steps_asked, whole
from tsframe.corruptions import check_corruption, Corruption
from tsframe.costs import CostedTask, memory_of, shared_work, work_of, working_set_of
from tsframe.inputs import Gaussian
from tsframe.measures.asking import check_asked, declare, Measure
from tsframe.measures.learned import StudentShape
from tsframe.samples import check_label_noise
from tsframe.solving.exact import check_solvable, EXACT_MEASURES, Solvable
from tsframe.spectra import Isotropic
from tsframe.students.jacot2018 import Jacot2018
from tsframe.students.kernel import Kernel
from tsframe.students.linear import Linear
from tsframe.students.mlp import MLP
from tsframe.students.random_features import RandomFeatures
from tsframe.teachers import LinearTeacher, Teacher
from tsframe.together import check_device, train_tasks
from tsframe.training.adam import Adam
from tsframe.training.calibration import kept_speed
from tsframe.training.devices import resolve_device
from tsframe.training.entropy_sgd import EntropySGD
from tsframe.training.langevin import Langevin
from tsframe.training.losses import LOSSES, Objective
from tsframe.training.parle import Parle
from tsframe.training.products import PRECISIONS, strictest
from tsframe.training.ridge import Ridge
from tsframe.training.sam import SAM
from tsframe.training.sgd import SGD

__all__ = ["Trial", "train"]


@dataclass(frozen=True, kw_only=True, repr=False)
class Trial:
    """One student, the task it learns, and how.

    Parameters
    ----------
    inputs : Gaussian or ArrayInputs
        Law of the inputs, or rows of real data.
    teacher : Teacher, LinearTeacher or OwnLabels
        Labels them.
    student : MLP, Linear, RandomFeatures or Kernel
        Learns them.
    training : SGD, Adam, SAM, Langevin, EntropySGD, Parle or Ridge
        How: an MLP takes steps, the others are solved exactly by Ridge.
    n_train, n_test : int
        Sizes of the two samples, >= 1.
    label_noise : float
        Probability that a training label is replaced by a uniformly random class (which may be the
        right one); at 1 all are random. Test labels are never noisy: test_error is measured against
        the teacher and 0 is optimal.
    corruption : ShuffledCoordinates, MatchedGaussian or None
        What is done to training and test inputs once they are labeled.
    augmentation : FlatNoise, SignFlips or None
        How the inputs of a minibatch are varied, anew at every step; see `tsframe.augmentations`.
    loss : str or None
        ``"cross_entropy"`` or ``"mse"``; None takes cross-entropy for classes and mse for
        regression, and always mse for `Ridge`.
    curve_steps : tuple of int
        Steps at which errors and losses are kept as curves; see `log_steps`. A student that stopped
        keeps the values it stopped with.
    measures : sequence of Measure
        What is measured besides errors, losses and norms, e.g. ``[FisherSpectrum()]``: at the end
        of training, of students that step.
    measure_steps : sequence of int
        Steps at which `measures` are taken besides the end, 0 being the initialization. They are
        kept as ``NAME_curve`` over dim ``measure_step``.
    own_order : bool
        Whether the student sees the minibatches in an order of its own, which hangs on seed,
        student and training. By default all students of a seed see the same: a paired comparison,
        and faster, as they share the first product; but their noise is not independent.
    seed : int
        Of every random number, >= 0.
    precision : str or None
        ``"float32"`` (IEEE), ``"float64"``, or on a GPU ``"tf32x3"``: float32 whose products are
        three of TF32, as accurate. None takes float64 for `Ridge`, which allows no other, and else
        float32.

    Raises
    ------
    TypeError, ValueError
        With a sentence that names what came, what is allowed, and what to do.
    """

    inputs: Gaussian | ArrayInputs
    teacher: Teacher | LinearTeacher | OwnLabels
    student: MLP | Solvable
    training: SGD | Adam | SAM | Langevin | EntropySGD | Parle | Ridge
    n_train: int
    n_test: int
    label_noise: float = 0.0
    loss: str | None = None
    curve_steps: tuple[int, ...] = ()
    seed: int = 0
    precision: str | None = None
    corruption: Corruption | None = later(None)
    augmentation: Augmentation | None = later(None)
    measures: Sequence[Measure] = later(())
    measure_steps: Sequence[int] = later(())
    own_order: bool = later(False)

    def __post_init__(self) -> None:
        kinds_of: dict[str, tuple[type, ...]] = {
            "inputs": (Gaussian, ArrayInputs),
            "teacher": (Teacher, LinearTeacher, OwnLabels),
            "student": (MLP, Linear, RandomFeatures, Kernel),
            "training": (SGD, Adam, SAM, Langevin, EntropySGD, Parle, Ridge),
        }
        for name, kinds in kinds_of.items():
            if not isinstance(getattr(self, name), kinds):
                known = " or ".join(kind.__name__ for kind in kinds)
                raise TypeError(f"{name} must be {known}; got {getattr(self, name)!r}.")
        for name, low in (("n_train", 1), ("n_test", 1), ("seed", 0)):
            object.__setattr__(self, name, whole(name, getattr(self, name), low))
        check_label_noise(self.label_noise, self.teacher)
        object.__setattr__(self, "label_noise", float(self.label_noise))
        if not isinstance(self.own_order, bool | np.bool_):
            raise TypeError(f"own_order must be True or False; got own_order={self.own_order!r}.")
        object.__setattr__(self, "own_order", bool(self.own_order))
        check_corruption(self.corruption)
        check_augmentation(
            self.augmentation, self.inputs, self.teacher, self.corruption, self.exact
        )
        if isinstance(self.teacher, LinearTeacher):
            self.teacher.check_dim(self.inputs.dim)
        check_rows(self.inputs, self.teacher, self.n_train, self.n_test)
        if self.loss is None:
            entropy = self.teacher.classes is not None and not self.exact
            object.__setattr__(self, "loss", LOSSES[0] if entropy else LOSSES[1])
        if self.loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}; got loss={self.loss!r}.")
        if self.loss == "cross_entropy" and self.teacher.classes is None:
            raise ValueError(
                f"cross_entropy needs classes, and {self.teacher!r} has none. Use loss='mse'."
            )
        if self.precision is None:
            object.__setattr__(self, "precision", "float64" if self.exact else "float32")
        if self.precision not in PRECISIONS:
            raise ValueError(
                f"precision must be one of {', '.join(PRECISIONS)}; "
                f"got precision={self.precision!r}."
            )
        for name in ("curve_steps", "measure_steps"):
            object.__setattr__(self, name, steps_asked(name, getattr(self, name)))
        check_solvable(self.student, self.training, self.loss, self.precision, self.curve_steps)
        budget = None if isinstance(self.training, Ridge) else self.training.max_steps
        asked = check_asked(self.measures, self.measure_steps, budget)
        object.__setattr__(self, "measures", asked)
        if not isinstance(self.training, Ridge):
            check_steps(cast(StepTask, self))
            declare(asked, self.measure_steps, self.student_shape)
            for measure in asked:
                measure.check(self)

    __repr__ = repr_of

    @property
    def objective(self) -> Objective:
        """What the student minimizes and what counts as its error."""
        assert self.loss is not None
        return Objective(self.loss, self.teacher.classes)

    @property
    def sharing_key(self) -> Hashable:
        """What decides the inputs: trials with equal keys share one wide first layer."""
        return (
            self.inputs,
            self.corruption,
            self.augmentation,
            self.n_train,
            self.n_test,
            self.seed,
        )

    @property
    def order_key(self) -> int | None:
        """What keys the order of minibatches, besides the seed: None, or student and training."""
        return (
            zlib.crc32(f"{self.student!r} {self.training!r}".encode()) if self.own_order else None
        )

    @property
    def minibatch_key(self) -> Hashable:
        """What decides the inputs of every step: the inputs, and the order of minibatches."""
        return (self.sharing_key, self.order_key)

    @property
    def exact(self) -> bool:
        """Whether the student is solved for, instead of trained step by step."""
        return isinstance(self.training, Ridge)

    @property
    def step_key(self) -> Hashable:
        """What decides the form of one step: trials with equal keys can step together."""
        task = (self.inputs.dim, self.teacher.outputs, self.objective, self.n_train, self.n_test)
        if isinstance(self.training, Ridge):
            return (*task, self.student)
        return (
            *task,
            self._network.activation,
            isinstance(self._network.initialization, Jacot2018),
            self._network.normalized,
            self.training.form,
            self.curve_steps,
            self.measure_steps,
            self.precision,
        )

    @property
    def shape_key(self) -> Hashable:
        """The step key with the shape of the student."""
        if self.exact:
            return self.step_key
        return (self.step_key, self._network.width, self._network.depth)

    @property
    def declared(self) -> dict[str, dict[str, tuple[float, ...]]]:
        """Names of what will be measured, each with its inner dims and their coordinates."""
        of_classes = MEASURES_OF_CLASSES if self.teacher.classes else ()
        names = (*(EXACT_MEASURES if self.exact else MEASURES), *of_classes)
        declared: dict[str, dict[str, tuple[float, ...]]] = {name: {} for name in names}
        if self.curve_steps:
            steps = {"step": tuple(float(step) for step in self.curve_steps)}
            declared |= {f"{name}_curve": steps for name in MEASURES_OVER_STEPS}
        if self.measures:
            asked = declare(self.measures, self.measure_steps, self.student_shape)
            if known := [name for name in asked if name in declared]:
                raise ValueError(
                    f"'{known[0]}' is measured of every student; give the measure another name."
                )
            declared |= asked
        return declared

    @property
    def may_lack(self) -> tuple[str, ...]:
        """Names of measures that may honestly be NaN though the student did not diverge."""
        names = [name for measure in self.measures for name in measure.may_lack]
        return (*names, *(f"{name}_curve" for name in names))

    @property
    def student_shape(self) -> StudentShape:
        """What decides the sizes of measures."""
        student = self._network
        return StudentShape(
            dim=self.inputs.dim,
            width=student.width if student.depth else 1,
            depth=student.depth,
            outputs=self.teacher.outputs,
            n_train=self.n_train,
            n_test=self.n_test,
            classes=self.teacher.classes,
        )

    @property
    def unmeasured(self) -> "Trial":
        """The same student without what it is asked to measure on its way."""
        if not (self.curve_steps or self.measures):
            return self
        return replace(self, curve_steps=(), measures=(), measure_steps=())

    @property
    def flops(self) -> float:
        """Predicted work, in floating-point operations, if the whole budget of steps is used."""
        return work_of(cast(CostedTask, self))

    @property
    def shared_flops(self) -> dict[Hashable, float]:
        """Work that is done once for all trials of a call that have it under an equal key."""
        return shared_work(cast(CostedTask, self))

    @staticmethod
    def speed(device: str = "auto", threads: int = 1) -> float:
        """Give the speed of a device in `flops` a second.

        It is measured in some seconds when a device is seen for the first time, and kept.
        """
        where = resolve_device(device)
        one = kept_speed(where, _plain, lambda some: train(some, device, 1, strictest(where)))
        return one if where.type == "cuda" else threads * one

    @staticmethod
    def memory(trials: Sequence["Trial"], threads: int = 1) -> float:
        """Predict the memory of a process that trains these together on the CPU, in bytes."""
        return memory_of(cast(Sequence[CostedTask], trials), threads)

    @property
    def _network(self) -> MLP:
        assert isinstance(self.student, MLP)  # checked when the trial was built
        return self.student

    @property
    def bytes(self) -> float:
        """Working set in the engine: weights, their memory, and hidden values of one step."""
        return working_set_of(cast(CostedTask, self))

    @staticmethod
    def check_device(trials: Sequence["Trial"], device: str = "auto", mode: str = "strict") -> None:
        """Refuse a device that cannot train these; see `train`."""
        check_device(trials, resolve_device(device), mode)

    @staticmethod
    def train_together(
        trials: Sequence["Trial"],
        device: str = "auto",
        threads: int | None = None,
        mode: str = "strict",
    ) -> xr.Dataset:
        """Train trials in one engine call; see `train`."""
        return train(trials, device, threads, mode)


def _plain(width: int, seed: int, lr: float, max_steps: int) -> Trial:
    """Make a trial of little surprise, to measure the speed of a machine by."""
    return Trial(
        inputs=Gaussian(dim=200, spectrum=Isotropic()),
        teacher=Teacher(width=10),
        student=MLP(width, depth=2),
        training=SGD(lr, momentum=0.9, batch_size=128, max_steps=max_steps),
        n_train=512,
        n_test=512,
        seed=seed,
    )


def train(
    trials: Sequence[Trial], device: str = "auto", threads: int | None = None, mode: str = "strict"
) -> xr.Dataset:
    """Train any list of trials, of mixed shapes and data sets, in one engine call.

    Parameters
    ----------
    trials : sequence of Trial
        One student each.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ... ; ``"auto"`` takes a GPU where there is one.
    threads : int, optional
        As many as there are cores by default. On the CPU each trains a stack of students, beside a
        GPU all but one draw data. Results do not depend on it.
    mode : str
        ``"strict"``: a student has the same bits alone, in any batch and in any place of it.
        ``"fast"``: on a GPU, products by cuBLAS, where they are the same to rounding only; on the
        CPU nothing else than strict.

    Returns
    -------
    xr.Dataset
        Dim ``student`` in the order of `trials`. Measures: ``train_error`` (against the labels
        trained on), ``test_error`` (against the noise-free teacher), ``train_loss``, ``test_loss``,
        ``steps`` (optimizer steps that led to these weights), ``interpolated``, ``weight_norm``,
        ``distance_from_init``, ``diverged``; for classes ``class_perplexity`` and
        ``majority_error`` (test error of always naming the most frequent class); with
        `curve_steps`, ``train_error_curve`` and so on over dim ``step``. Students solved by `Ridge`
        have no ``steps`` and no ``distance_from_init``, but the ``rank`` they used and the
        ``condition`` of their system; they are solved on the CPU, by LAPACK, whatever the device.
        Attributes tell device, precision, route of the products, and the mode in effect.

    Raises
    ------
    TypeError
        If something in `trials` is not a Trial.
    ValueError
        If `trials` is empty, the device is not there, or it cannot do what mode or precision ask.
    """
    if isinstance(trials, Trial):
        raise TypeError("train takes a list of trials; got one alone. Write train([trial]).")
    trials = list(trials)
    if not trials:
        raise ValueError("train needs at least one trial; got an empty list.")
    for place, trial in enumerate(trials):
        if not isinstance(trial, Trial):
            raise TypeError(f"trials must be Trial objects; got {trial!r} at position {place}.")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1; got threads={threads}.")
    where = resolve_device(device)
    check_device(trials, where, mode)
    return train_tasks(trials, where, threads, mode)
