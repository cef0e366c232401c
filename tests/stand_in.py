"""A GPU that is none: its tensors say that they are on cuda:0 and lie in the memory of the host.

It finds on any machine what else only a GPU would: operations that mix tensors of host and device,
and places where the host waits for the device. Numbers are those of the CPU; kernels run in
Triton's interpreter. It has no graphs and no gradients by autograd; streams are all one.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import tsframe

__all__ = ["DEVICE", "OnDevice", "StandIn", "Wait", "stand_in"]

DEVICE = torch.device("cuda", 0)
HOST = torch.device("cpu")
READS = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "is_nonzero", "unique")
NUMBERS = ("item", "tolist", "__float__", "__int__", "__index__", "__bool__")
WITHOUT_DRIVER = ("not linked with support for cuda", "tolist() is not supported")
MEMORY = int(8e9)
ENGINE = Path(tsframe.__file__).parent


class Stream:
    """A stream; all it was asked for is done, and it is its own event."""

    def wait_stream(self, other: "Stream") -> None:
        """Do nothing: the other has done everything."""

    def record_event(self) -> "Stream":
        """Give what tells that all is done."""
        return self

    def query(self) -> bool:
        """Tell that it is."""
        return True


@dataclass(frozen=True)
class Properties:
    """What a device says of itself."""

    multi_processor_count: int = 2


class OnDevice(torch.Tensor):
    """A tensor on the stand-in, which holds one on the host."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnDevice":
        made: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        made.held = held
        return made  # type: ignore[no-any-return]

    def __repr__(self, **_: Any) -> Any:  # type: ignore[override]
        return f"OnDevice({self.held})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(func, args, kwargs or {})


@dataclass(frozen=True)
class Wait:
    """The host waited for the device: what for, and the functions of tsframe on the way there."""

    what: str
    calls: tuple[str, ...]


@dataclass
class StandIn:
    """What happened on the stand-in.

    Attributes
    ----------
    waits : list of Wait
        In order.
    """

    waits: list[Wait] = field(default_factory=list)

    def waits_in(self, *calls: str) -> list[Wait]:
        """Give those on whose way there is one of some functions, e.g. "Table.run"."""
        return [wait for wait in self.waits if set(calls) & set(wait.calls)]


_now: list[StandIn] = []


def _held(value: Any) -> Any:
    return value.held if isinstance(value, OnDevice) else value


def _is_device(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _wait(what: str) -> None:
    calls, frame = [], inspect.currentframe()
    while frame is not None:
        if ENGINE in Path(frame.f_code.co_filename).parents:
            calls.append(frame.f_code.co_qualname)
        frame = frame.f_back
    for one in _now:
        one.waits.append(Wait(what, tuple(reversed(calls))))


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do on the host what an operation would do on the device that its tensors are on."""
    name = func.__name__.partition(".")[0]
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    there = [t for t in tensors if isinstance(t, OnDevice)]
    here = [t for t in tensors if not isinstance(t, OnDevice)]
    asked = kwargs.get("device")
    on_device = _is_device(asked) if asked is not None else bool(there)
    if asked is not None:
        kwargs = kwargs | {"device": HOST}
    if name in ("_to_copy", "copy_"):
        source = args[1] if name == "copy_" else args[0]
        target_there = isinstance(args[0], OnDevice) if name == "copy_" else on_device
        if isinstance(source, OnDevice) and not target_there:
            _wait("copy to the host")
        blocking = not (kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,)))
        if target_there and not isinstance(source, OnDevice) and blocking:
            _wait("copy to the device")
    elif there and name.startswith("index") and all(t.dtype == torch.int64 for t in here):
        if here:  # torch uploads indices of the host, and takes numbers
            _wait("indices of the host")
    elif there and any(t.ndim for t in here):
        raise RuntimeError(f"{name}: expected all tensors on one device, found cuda:0 and cpu")
    if there and (name in READS + NUMBERS or (name.startswith("index") and _by_bools(args))):
        _wait(name)
    result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    changed = {id(t.held): t for t in there}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not on_device:
            return value
        return changed[id(value)] if id(value) in changed else OnDevice(value)

    return args[0] if name == "copy_" else tree_map(wrapped, result)


def _by_bools(args: Any) -> bool:
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(t is not None and t.dtype == torch.bool for t in indices)


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _exact(device: Any) -> Any:
    return DEVICE if _is_device(device) else device


class _Functions(TorchFunctionMode):
    """Catches what torch does in C++ before it asks a mode: indexing, uploads, bare "cuda"."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.pin_memory:
            return args[0]
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            if isinstance(args[0], OnDevice):
                return _index(func, *args)
        if func is torch.Tensor.new_tensor and isinstance(args[0], OnDevice):
            return args[0].held.new_tensor(*args[1:], **kwargs).to(DEVICE)
        if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor):
            device = kwargs.pop("device", None)
            made = func(*args, **kwargs)
            return made if device is None else made.to(_exact(device))
        if "device" in kwargs:
            kwargs["device"] = _exact(kwargs["device"])
        if func is torch.Tensor.to:
            args = tuple(_exact(a) if isinstance(a, str | torch.device) else a for a in args)
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:
            if not any(sentence in str(error) for sentence in WITHOUT_DRIVER):
                raise
        return _compute(func, args, kwargs)  # nothing was done yet


def _index(func: Any, tensor: OnDevice, index: Any, *value: Any) -> Any:
    """Index a tensor on the device, whose part it may be seen to be."""
    parts = index if isinstance(index, tuple) else (index,)
    lists = [p for p in parts if isinstance(p, torch.Tensor | list | np.ndarray)]
    if any(not isinstance(p, OnDevice) for p in lists):
        _wait("indices of the host")
    if any(isinstance(p, OnDevice) and p.dtype == torch.bool for p in lists):
        _wait("index by bools")
    for one in value:  # a slice takes numbers of the host; what is picked one by one does not
        if lists and isinstance(one, torch.Tensor) and one.ndim and not isinstance(one, OnDevice):
            raise RuntimeError("index: expected all tensors on one device, found cuda:0 and cpu")
    result = func(tensor.held, tuple(_held(p) for p in parts), *(_held(one) for one in value))
    return OnDevice(result) if isinstance(result, torch.Tensor) else result


@contextlib.contextmanager
def _modes() -> Iterator[None]:
    with _Dispatch(), _Functions():
        yield


@contextlib.contextmanager
def stand_in() -> Iterator[StandIn]:
    """Let there be one CUDA device, the stand-in, in this thread and those of the engine.

    Yields
    ------
    StandIn
        What happens on it.
    """
    found = StandIn()

    def in_modes(call: Callable[..., Any]) -> Callable[..., Any]:
        def inside(*args: Any, **kwargs: Any) -> Any:
            with _modes():
                return call(*args, **kwargs)

        return inside

    def nothing(*_: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    with pytest.MonkeyPatch.context() as patch:
        from tsframe import together

        cuda: dict[str, Any] = {
            "_lazy_init": lambda: None,
            "device_count": lambda: 1,
            "is_available": lambda: True,
            "get_device_name": lambda device=None: "stand-in",
            "mem_get_info": lambda device=None: (MEMORY, MEMORY),
            "empty_cache": lambda: None,
            "get_device_properties": lambda device: Properties(),
            "Stream": lambda device: Stream(),
            "current_stream": lambda device: Stream(),
            "stream": nothing,
            "device_of": nothing,
            "device": nothing,
        }
        for name, value in cuda.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(together, "_train_if_it_fits", in_modes(together._train_if_it_fits))
        patch.setattr(together, "recorder", lambda device: None)
        with contextlib.suppress(ImportError):
            _let_kernels_in(patch)
        _now.append(found)
        try:
            with _modes():
                yield found
        finally:
            _now.remove(found)


def _let_kernels_in(patch: pytest.MonkeyPatch) -> None:
    """Hand Triton's interpreter what the tensors hold."""
    from triton.runtime import interpreter

    from tsframe.training import products, residing
    from tsframe.training.kernels import rehearsal, trust

    launch = interpreter.GridExecutor.__call__

    def launched(self: Any, *args: Any, **kwargs: Any) -> Any:
        held = {name: _held(value) for name, value in kwargs.items()}
        return launch(self, *[_held(a) for a in args], **held)

    patch.setattr(interpreter.GridExecutor, "__call__", launched)
    for name in ("refusal", "refusal_of_fusions"):  # what is kept of it is not for others
        fresh = functools.cache(getattr(trust, name).__wrapped__)
        for module in (trust, products):
            patch.setattr(module, name, fresh)
    patch.setattr(
        residing,
        "refusal_of_residents",
        functools.cache(rehearsal.refusal_of_residents.__wrapped__),
    )
