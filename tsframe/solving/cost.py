"""What an exact student costs, so that a plan knows before it runs."""

from tsframe.solving.exact import ExactTask
from tsframe.students.kernel import Kernel
from tsframe.students.random_features import RandomFeatures

__all__ = ["work", "working_set"]

# Float64 work in units of what a float32 product of this many operations takes on one core.
FACTORING, SOLVING, DRAWING = 7.0, 3.0, 1500.0
OVERHEAD = 1.2e8  # of one student


def work(task: ExactTask) -> float:
    """Predict the work of one student, in operations of a float32 product done in the same time.

    Parameters
    ----------
    task : ExactTask
        The student; it is taken to share nothing with others.

    Returns
    -------
    float
        Floating-point operations.
    """
    n, dim, outputs = task.n_train, task.inputs.dim, task.teacher.outputs
    rows, student = n + task.n_test, task.student
    draws = float(DRAWING * rows * dim)
    if isinstance(student, Kernel):
        pairs = 2.0 * rows * n * (dim + 100.0) + 2.0 * rows * n * outputs
        return OVERHEAD + draws + SOLVING * pairs + FACTORING * 4.0 * n**3
    features = dim
    if isinstance(student, RandomFeatures):
        features = student.width
        draws += DRAWING * features * dim + SOLVING * 2.0 * rows * features * dim
    small, large = sorted((n, features))
    large += small if task.training.penalty else 0
    factoring = FACTORING * 2.0 * small**2 * (large - small / 3.0)
    if features < n:
        factoring *= 2.0
    return OVERHEAD + draws + factoring + SOLVING * 2.0 * rows * features * outputs


def working_set(task: ExactTask) -> float:
    """Bytes held while a student is solved: its inputs, features, kernel and factors.

    Parameters
    ----------
    task : ExactTask
        The student.

    Returns
    -------
    float
        Bytes.
    """
    n, dim, rows = task.n_train, task.inputs.dim, task.n_train + task.n_test
    if isinstance(task.student, Kernel):
        return 8.0 * (rows * dim + 2 * rows * n + 3 * n**2)
    features = task.student.width if isinstance(task.student, RandomFeatures) else dim
    return 8.0 * (rows * (dim + features) + 3 * n * features + min(n, features) ** 2)
