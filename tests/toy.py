"""Trials that square a number, for the tests of the sweep half."""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

STEPS = (0.0, 1.0, 10.0)


@dataclass(frozen=True)
class Square:
    """Squares its value; the mood says how this goes wrong."""

    value: float
    mood: str = "well"
    together: str = "well"  # what goes wrong in a call of more than one trial
    seconds: float = 0.0
    work: float = 1e9
    folder: str = ""  # leaves one file there for each training, if given
    scale: float = 1.0

    @property
    def sharing_key(self) -> str:
        return self.mood

    @property
    def shape_key(self) -> int:
        return 0

    @property
    def flops(self) -> float:
        return self.work

    @property
    def declared(self) -> dict[str, dict[str, tuple[float, ...]]]:
        return {"square": {}, "curve": {"step": STEPS}}

    @staticmethod
    def train_together(
        trials: Sequence["Square"], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        for trial in trials:
            if trial.seconds:
                time.sleep(trial.seconds)
            if trial.folder:
                name = f"{trial.value}-{time.monotonic_ns()}-{os.getpid()}"
                (Path(trial.folder) / name).touch()
            if trial.mood == "raises" or (trial.together == "raises" and len(trials) > 1):
                raise ValueError(f"no square of {trial.value}")
            if trial.mood == "shouts":
                raise RuntimeError("\ud800" + "x" * 100_000)
        value = np.array([trial.value for trial in trials])
        diverged = np.array([trial.mood == "diverges" for trial in trials])
        square = np.where(diverged, np.nan, value**2)
        square[[trial.mood == "nan" for trial in trials]] = np.nan
        curve = square[:, None] / (1 + np.array(STEPS))
        square[[trial.mood == "hole" for trial in trials]] = np.nan
        data: dict[str, Any] = {
            "square": ("student", square),
            "curve": (("student", "step"), curve),
            "diverged": ("student", diverged),
        }
        moods = {trial.mood for trial in trials}
        if "missing" in moods:
            del data["curve"]
        if "shape" in moods:
            data["curve"] = (("student", "rank"), curve)
        if "complex" in moods:
            data["square"] = ("student", square + 1j)
        if "short" in moods:
            data = {name: (dims, array[:-1]) for name, (dims, array) in data.items()}
        return xr.Dataset(data, attrs={"device": "abacus", "threads": threads or 0})


@dataclass(frozen=True)
class Odd(Square):
    """A square that declares other measures than its siblings."""

    @property
    def declared(self) -> dict[str, dict[str, tuple[float, ...]]]:
        return {"square": {}, "curve": {"step": (0.0, 2.0)}}


@dataclass(frozen=True)
class Named(Square):
    """A square that declares the measures it is told to."""

    names: Any = field(default=())

    @property
    def declared(self) -> dict[str, dict[str, tuple[float, ...]]]:
        return {name: dict(inner) for name, inner in self.names}


@dataclass(frozen=True)
class Asked(Square):
    """A square that is asked for cubes, and may come out otherwise when it is asked for more."""

    asked: tuple[str, ...] = ()
    drift: float = 0.0

    @property
    def unmeasured(self) -> "Asked":
        return replace(self, asked=(), drift=0.0)

    @property
    def declared(self) -> dict[str, dict[str, tuple[float, ...]]]:
        return {**super().declared, **{name: {} for name in self.asked}}

    @staticmethod
    def train_together(
        trials: Sequence[Any], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        dataset = Square.train_together(trials, device, threads)
        dataset["square"] = dataset["square"] * [1 + trial.drift for trial in trials]
        for name in {name for trial in trials for name in trial.asked}:
            dataset[name] = "student", [trial.value**3 for trial in trials]
        return dataset


@dataclass(frozen=True)
class Ragged(Square):
    """A square with a spectrum as long as its width, and another one beside it."""

    width: int = 1

    @property
    def declared(self) -> dict[str, dict[str, tuple[float, ...]]]:
        rank = {"rank": tuple(float(i) for i in range(self.width))}
        return {"square": {}, "spectrum": rank, "overlap": {**rank, "step": STEPS}}

    @staticmethod
    def train_together(
        trials: Sequence[Any], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        longest = max(trial.width for trial in trials)
        value = np.array([trial.value for trial in trials])
        spectrum = value[:, None] / np.arange(1, longest + 1)  # whatever stands behind the end
        return xr.Dataset(
            {
                "square": ("student", value**2),
                "spectrum": (("student", "rank"), spectrum),
                "overlap": (("student", "rank", "step"), spectrum[..., None] * np.array(STEPS)),
                "diverged": ("student", value < 0),
            },
            {"rank": np.arange(float(longest)), "step": list(STEPS)},
        )


@dataclass(frozen=True)
class Locked(Square):
    """A square that holds a lock, which no process can send."""

    lock: Any = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Fickle(Square):
    """A square that comes out otherwise in each process, by a bit."""

    @staticmethod
    def train_together(
        trials: Sequence[Any], device: str = "auto", threads: int | None = None
    ) -> xr.Dataset:
        dataset = Square.train_together(trials, device, threads)
        dataset["curve"][0, -1] += os.getpid()
        return dataset


@dataclass(frozen=True)
class Laden(Square):
    """A square that carries an array along."""

    load: Any = None
