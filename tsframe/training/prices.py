"""The price of a step: what a stack's students cost together, and each on its own.

All work is told in operations of a float32 product that one core does in the same time. A step of a
stack takes

    sum over students of (products + UNIT * units * batch)
    + INPUT * batch * dim for every data set + LAYER for every product of a shape + STEP,

where a unit is a hidden or an output unit. The constants were fitted to 31 stacks of widths 5 to
500, depths 0 to 4, batches of 32 to 512, dimensions 50 to 1000 and 1 to 32 students a data set, on
one core of a Xeon of 160 GFLOP/s: half of them within 3 to 9 percent, nine tenths within 11 to 26,
from run to run. STEP and three LAYERs are 260 us; since steps make fewer calls one thread alone
takes 150 to 200. Tables are cut by it, and threads that work side by side pay more for every call.
`python -m tests.benchmarks.step_costs` fits them anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Shape", "StepCost", "table_price"]

Shape = tuple[int, int]  # width, depth

UNIT, INPUT = 230.0, 143.0
NORM = 800.0  # more for a normalized hidden unit; 450 to 1100 on four stacks of 2 to 16 students
LAYER, STEP = 6.5e6, 2.2e7
COPIES, VALUES = 5.0, 3.5  # of weights and of units in memory, those that come and go included
NORM_VALUES = 3.0  # more of hidden units, where they are normalized


@dataclass(frozen=True)
class StepCost:
    """The cost of a network that takes steps.

    Parameters
    ----------
    shapes : sequence of (int, int)
        (fan_out, fan_in) of every layer.
    batch : int
        Samples of a minibatch.
    steps : int
        Gradients that are computed, at most.
    normalized : bool
        Whether hidden layers are; see `MLP`.
    """

    shapes: Sequence[tuple[int, int]]
    batch: int
    steps: int
    normalized: bool = False

    @property
    def weights(self) -> int:
        """Weights and biases."""
        return sum(after * (before + 1) for after, before in self.shapes)

    @property
    def units(self) -> int:
        """Hidden and output units."""
        return sum(after for after, _ in self.shapes)

    @property
    def normalized_units(self) -> int:
        """Hidden units, where they are normalized."""
        return self.units - self.shapes[-1][0] if self.normalized else 0

    @property
    def own(self) -> float:
        """Work of all steps that is the student's alone."""
        first = self.shapes[0][0] * (self.shapes[0][1] + 1)  # nothing pulls back through it
        products = 2.0 * (3 * self.weights - first)
        units = UNIT * self.units + NORM * self.normalized_units
        return self.steps * self.batch * (products + units)

    @property
    def of_data_set(self) -> float:
        """Work of all steps that students of one data set share."""
        return self.steps * INPUT * self.batch * self.shapes[0][1]

    @property
    def of_stack(self) -> float:
        """Work of all steps that students who step together share."""
        return self.steps * (STEP + LAYER)

    @property
    def of_shape(self) -> float:
        """Work of all steps that students of one shape share, besides that of their stack."""
        return self.steps * LAYER * (len(self.shapes) - 1)

    def looks(self, rows: int) -> float:
        """Work of evaluating so many samples in all."""
        return rows * (2.0 * self.weights + UNIT / 3 * self.units)

    def bytes(self, itemsize: int) -> float:
        """Memory of one student in the engine."""
        values = VALUES * self.units + NORM_VALUES * self.normalized_units
        return itemsize * (COPIES * self.weights + values * self.batch)


def table_price(costs: Mapping[Shape, StepCost], sets: int, places: Mapping[Shape, int]) -> float:
    """Predict the work of a step at a table, whose seats are a rectangle.

    Parameters
    ----------
    costs : mapping
        Cost of one step of a student of each shape.
    sets : int
        Data sets at the table.
    places : mapping
        Seats of each shape that every data set has, vacant ones included.
    """
    any_cost = next(iter(costs.values()))
    each = any_cost.of_data_set + sum(costs[shape].own * count for shape, count in places.items())
    shapes = sum(costs[shape].of_shape for shape in places)
    return any_cost.of_stack + shapes + sets * each
