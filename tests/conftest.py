"""What all laws have in common."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # several run side by side: each has a core
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _has_gpu() -> bool:
    import torch  # behind what it reads when it is imported

    return torch.cuda.is_available()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not _has_gpu():
        pytest.skip("needs a CUDA device")


if not _has_gpu():  # kernels then run in Triton's interpreter; it asks when it is imported
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # What a test measures of this machine stays away from the cache of its user.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def kernel_device(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where kernels run: on a GPU, or on the CPU in Triton's interpreter."""
    pytest.importorskip("triton")
    if _has_gpu():
        return "cuda"
    from triton.runtime import interpreter

    patch_tensor = interpreter._patch_lang_tensor

    def patched(tensor, scope):  # NumPy 2.4 refuses what Triton 3.6 makes of bounds of loops
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patched)
    return "cpu"


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine on the CPU take the products and the sums that strict takes on a GPU."""
    import torch

    from tsframe.training.products import _cuda_route

    @contextlib.contextmanager
    def route(*_: object) -> Iterator[object]:
        there = _cuda_route("float64", "strict", torch.device("cpu"))
        yield replace(there, recordable=True)

    monkeypatch.setattr("tsframe.together.product_route", route)
    monkeypatch.setattr("tsframe.students.sums.ordered", lambda values: True)
