"""The spec of a sweep: what a store keeps to recognize it.

A spec holds the axes, the measures, a fingerprint of all trials, and the text of the trials at
the corners of the grid, so that a store can refuse another sweep and say what differs: an axis, a
measure, or a constant in the sweep function. A changed comment changes nothing.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tsframe.axes import describe, Value
from tsframe.sweep import Sweep

__all__ = ["check_same", "spec_of"]

ADVICE = "use a new store, or give the sweep back what it had."


def spec_of(sweep: Sweep) -> dict[str, Any]:
    """Describe a sweep in plain JSON values."""
    trials = sweep.trials()
    return {
        "version": 1,
        "axes": {name: list(values) for name, values in sweep.axes.items()},
        "measures": {
            name: {dim: list(values) for dim, values in inner.items()}
            for name, inner in sweep.measures.items()
        },
        "fingerprint": sweep.fingerprint,
        "corners": [{"number": n, "trial": repr(trials[n])} for n in sweep.corners()],
        "source": sweep.source,
    }


def check_same(where: str, spec: Mapping[str, Any], sweep: Sweep) -> None:
    """Refuse a sweep that is not the one that a store was made for.

    Parameters
    ----------
    where : str
        The store, for the message.
    spec : mapping
        What `spec_of` gave when the store was made.
    sweep : Sweep
        What is to be run now.

    Raises
    ------
    ValueError
        If axes, measures or trials differ.
    """
    axes, measures = spec["axes"], spec["measures"]
    if list(axes) != list(sweep.axes):
        raise ValueError(
            f"{where} holds another sweep: its axes are {', '.join(axes)}, those of this sweep "
            f"{', '.join(sweep.axes)}; {ADVICE}"
        )
    for name, values in axes.items():
        if repr(values) != repr(list(sweep.axes[name])):  # 1, 1.0 and True are different axes
            raise ValueError(
                f"{where} holds another sweep: {name}: store {brief(values, sweep.axes[name])}, "
                f"sweep {brief(sweep.axes[name], values)}; {ADVICE}"
            )
    declared = spec_of(sweep)["measures"]
    if measures != declared:
        raise ValueError(
            f"{where} holds other measures: store {lengths(measures)}, sweep {lengths(declared)}"
            f"{'' if lengths(measures) != lengths(declared) else ' at other steps'}; {ADVICE}"
        )
    if spec["fingerprint"] == sweep.fingerprint:
        return
    for corner in spec.get("corners", ()):
        now = repr(sweep.trials()[corner["number"]])
        if corner["trial"] != now:
            had, has = changed(corner["trial"], now)
            cell = describe(sweep.cell(corner["number"]))
            raise ValueError(f"{where}: the trial of cell {cell} had {had}, has {has}; {ADVICE}")
    raise ValueError(f"{where}: trials away from the corners of the grid have changed; {ADVICE}")


def brief(values: Sequence[Value], others: Sequence[Value]) -> str:
    """Show an axis, and of a long one what the other axis lacks.

    Examples
    --------
    >>> brief([0.1, 0.2], [0.1])
    '[0.1, 0.2]'
    >>> brief(range(100), range(99))
    '100 values, of these alone [99]'
    """
    if len(values) <= 8:
        return repr(list(values))
    alone = [value for value in values if value not in others]
    if not alone:
        return f"{len(values)} values"
    more = ", ..." if len(alone) > 4 else ""
    return f"{len(values)} values, of these alone {repr(alone[:4])[:-1]}{more}]"


def lengths(measures: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Name measures with the lengths of their inner dims.

    Examples
    --------
    >>> lengths({"test_error": {}, "curve": {"step": (0.0, 1.0)}})
    'test_error, curve (step 2)'
    """
    return ", ".join(
        name + (f" ({', '.join(f'{d} {len(v)}' for d, v in inner.items())})" if inner else "")
        for name, inner in measures.items()
    )


def changed(had: str, has: str) -> tuple[str, str]:
    """Cut out of two reprs the first argument that differs.

    Examples
    --------
    >>> changed("Trial(n=1, lr=0.1)", "Trial(n=1, lr=0.25)")
    ('lr=0.1', 'lr=0.25')
    """
    one, other = (re.split(r"(?<=[(,])|(?=[),])", text) for text in (had, has))
    for a, b in zip(one, other, strict=False):
        if a != b:
            return a.strip(), b.strip()
    return f"{had:.200}", f"{has:.200}"
