"""Small students that stay on the chip: one program a student, many steps of SGD without leaving.

The weights and the velocity of a student lie in registers from the first step to the last; only the
rows of its minibatches are read. What a student does is the work of one program, whose tiles hang
on its own shape, so that its numbers do not hang on the batch. Products are IEEE float32.

Written for depth 1 and 2 and for widths up to a hundred or so. Checked in Triton's interpreter and
in what the compiler writes for an H200; no figure from a GPU yet.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tsframe.training.kernels.room import fits, padded, padded_weights, SAMPLES
from tsframe.training.kernels.steps import stay
from tsframe.training.losses import Objective

__all__ = ["train_residents"]


def train_residents(
    weights: Sequence[Tensor],
    velocity: Sequence[Tensor] | None,
    inputs: Tensor,
    targets: Tensor,
    sets: Tensor,
    order: Tensor,
    rates: Tensor,
    scales: Tensor,
    momenta: Tensor | None = None,
    decays: Tensor | None = None,
    seats: Tensor | None = None,
    *,
    objective: Objective,
    activation: str,
) -> None:
    """Train the students of one bucket for some steps of SGD, in place.

    v <- momentum v + g + decay w; w <- w - rate scale v, as `tsframe.training.sgd.SGD` without
    Nesterov's momentum.

    Parameters
    ----------
    weights : sequence of Tensor, shapes (groups, places, rows, columns)
        float32, the layers of a bucket as `Layout.by_student` gives them; biases are the last
        column.
    velocity : sequence of Tensor or None
        Like the weights, strides included. None without momenta.
    inputs : Tensor, shape (sets, n, dim + 1)
        float32; the last column is one.
    targets : Tensor, shape (groups * places, n)
        Classes (int64) or values (float32) of every student.
    sets : Tensor, shape (groups,)
        int64: which of the sets each group sees.
    order : Tensor, shape (groups, steps, batch)
        int64: rows of the minibatches that each group sees. It says how many steps there are.
    rates : Tensor, shape (groups * places, steps)
        float32: learning rate of every student at every step.
    scales : Tensor, shape (groups * places, depth + 1, 2)
        float32: factors on that, of the weights and of the biases of every layer.
    momenta, decays : Tensor, shape (groups * places,), optional
        float32: momentum and weight decay of every student.
    seats : Tensor, shape (students,), optional
        int64: the slots that are taken, of groups * places; all by default. The others are left as
        they are.
    objective : Objective
        What is minimized.
    activation : str
        A name in `tsframe.students.activations.ACTIVATIONS`.

    Raises
    ------
    ValueError
        For students that do not fit, and for tensors that the kernel would misread.
    """
    groups, places, width, terms = weights[0].shape
    outputs, depth = weights[-1].shape[2], len(weights) - 1
    steps, batch = order.shape[1:]
    if not fits(width, depth, terms - 1, outputs):
        raise ValueError(
            f"students of width {width} and depth {depth} with {terms - 1} inputs and {outputs} "
            "outputs do not stay on the chip; train them by products."
        )
    if (velocity is None) != (momenta is None):
        raise ValueError("momenta need a velocity, and nothing else does; give both or none.")
    kept = weights if velocity is None else velocity
    momenta = rates.new_zeros(groups * places) if momenta is None else momenta
    decays = rates.new_zeros(groups * places) if decays is None else decays
    shapes = [(width, terms), *[(width, width + 1)] * (depth - 1), (outputs, width + 1)]
    slots, rows = groups * places, targets.shape[1]
    seats = torch.arange(slots, device=inputs.device) if seats is None else seats
    expected = [
        *(
            (tensor, (groups, places, *shape), torch.float32)
            for tensors in (weights, kept)
            for tensor, shape in zip(tensors, shapes, strict=True)
        ),
        (inputs, (len(inputs), rows, terms), torch.float32),
        (targets, (slots, rows), torch.float32 if objective.classes is None else torch.int64),
        (sets, (groups,), torch.int64),
        (order, (groups, steps, batch), torch.int64),
        (rates, (slots, steps), torch.float32),
        (scales, (slots, depth + 1, 2), torch.float32),
        (momenta, (slots,), torch.float32),
        (decays, (slots,), torch.float32),
        (seats, (len(seats),), torch.int64),
    ]
    for tensor, shape, dtype in expected:
        if (
            tensor.shape != shape
            or tensor.dtype != dtype
            or 1 not in (tensor.stride(-1), shape[-1])
        ):
            raise ValueError(
                f"expected shape {shape}, {dtype}, numbers of a row side by side; got shape "
                f"{tuple(tensor.shape)}, {tensor.dtype}, strides {tensor.stride()}."
            )
    if not scales.is_contiguous() or any(
        w.stride() != v.stride() for w, v in zip(weights, kept, strict=True)
    ):
        raise ValueError("scales must be contiguous, the velocity must lie as the weights do.")
    if not len(seats) * steps:
        return
    numbers = padded_weights(width, depth, terms - 1, outputs)
    with torch.cuda.device_of(inputs):
        stay[(len(seats),)](
            weights[0],
            weights[1],
            weights[-1],
            kept[0],
            kept[1],
            kept[-1],
            inputs,
            targets,
            sets,
            order,
            rates,
            scales,
            momenta,
            decays,
            seats,
            places,
            terms,
            width,
            outputs,
            batch,
            steps,
            (1.0 if objective.loss == "cross_entropy" else 2.0) / batch,
            *weights[0].stride()[:3],
            *weights[1].stride()[:3],
            *weights[-1].stride()[:3],
            *inputs.stride()[:2],
            targets.stride(0),
            *order.stride()[:2],
            rates.stride(0),
            DEPTH=depth,
            ACTIVATION=activation,
            LOSS=objective.loss,
            CODED=objective.classes is not None,
            MOMENTUM=velocity is not None,
            TERMS=padded(terms),
            WIDTH=padded(width + 1),
            OUTPUTS=padded(outputs),
            SAMPLES=SAMPLES,
            num_warps=4 if numbers < 4096 else 8 if numbers < 8192 else 16,
            num_stages=1,
        )
