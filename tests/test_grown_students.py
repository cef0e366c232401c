"""Growth of a store of real students: the engine gives the old ones their bits again."""

from collections.abc import Callable
from pathlib import Path

from tsframe.execution import run
from tsframe.inputs import Gaussian
from tsframe.spectra import Sloppy
from tsframe.students.mlp import MLP
from tsframe.sweep import Sweep
from tsframe.teachers import Teacher
from tsframe.training.schedules import log_steps
from tsframe.training.sgd import SGD
from tsframe.trial import Trial
from tsframe.verification import verify


def students(steps: tuple[int, ...] = ()) -> Callable[..., Trial]:
    def trial(slope: float, width: int, seed: int) -> Trial:
        return Trial(
            inputs=Gaussian(dim=10, spectrum=Sloppy(slope)),
            teacher=Teacher(width=5, classes=3),
            n_train=20,
            n_test=50,
            label_noise=0.2,
            student=MLP(width, depth=2),
            training=SGD(lr=0.05, batch_size=10, max_steps=20),
            seed=seed,
            curve_steps=steps,
        )

    return trial


def test_students_keep_their_bits_when_axes_and_curves_are_added(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    sweep = Sweep(students(), slope=[0.01, 0.3], width=[4, 9], seed=range(2))
    first = run(sweep, path, n_jobs=1, device="cpu", chunk={"slope": 1}, progress=False)
    larger = sweep.over(slope=[0.01, 0.1, 0.3], seed=range(3))
    second = run(larger, path, n_jobs=1, device="cpu", progress=False)
    curves = Sweep(students(log_steps(20, 5)), **larger.axes)
    third = run(curves, path, n_jobs=1, device="cpu", progress=False)
    for name in ("test_error", "train_loss", "weight_norm", "steps"):
        part = second[name].sel(slope=first["slope"], seed=first["seed"])
        assert part.identical(first[name])
        assert third[name].identical(second[name])
    assert third["test_error_curve"].notnull().all()
    assert (third["test_error_curve"].isel(step=-1) == third["test_error"]).all()
    assert verify(path, 4, curves, device="cpu").code == 0  # a cell alone has the bits of its batch
