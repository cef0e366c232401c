"""What is known of the classes of a task before any student learns them."""

from collections.abc import Sequence

import numpy as np

from tsframe.samples import Samples

__all__ = ["class_measures"]


def class_measures(samples: Sequence[Samples]) -> dict[str, np.ndarray]:
    """Measure how even the classes of each task are.

    Parameters
    ----------
    samples : sequence of Samples
        Of tasks with classes, one a student.

    Returns
    -------
    dict of ndarray, shapes (students,)
        ``class_perplexity``, of the noise-free labels, and ``majority_error``, the test error of
        always naming the most frequent class.
    """
    frequent = [np.bincount(s.y_test).max() / len(s.y_test) for s in samples]
    return {
        "class_perplexity": np.array([s.perplexity for s in samples]),
        "majority_error": 1.0 - np.array(frequent),
    }
