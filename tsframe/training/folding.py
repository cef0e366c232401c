"""Students with batch normalization as the plain networks that they are at evaluation."""

import torch

from tsframe.students.normalization import EPSILON
from tsframe.students.products import quiet
from tsframe.students.stack import Stack
from tsframe.students.sums import average, total
from tsframe.training.minibatches import SampleSet

__all__ = ["folded"]


def folded(stack: Stack, samples: SampleSet) -> Stack:
    """Fold normalization by the statistics of a whole sample set into weights and biases.

    Layer by layer, each behind the folded ones before it: with mean and variance of W h over the
    samples, W / sqrt(var + epsilon) takes the place of W, and b - mean / sqrt(var + epsilon) that
    of b.

    Parameters
    ----------
    stack : Stack
        Students with normalization; not changed.
    samples : SampleSet
        Usually what they are trained on.

    Returns
    -------
    Stack
        Students without, of the same layout and the same outputs as `stack` has over all `samples`
        at once. A stack without normalization is given back itself.
    """
    if not stack.normalized:
        return stack
    plain = stack.clone(plain=True)
    seated, views = samples.seat(plain.layout), plain.layout.by_student(plain.weights)
    deep = [bucket.depth for bucket in plain.layout.buckets]
    for layer in range(max(deep, default=0)):
        chosen = [k for k, depth in enumerate(deep) if depth > layer]
        sizes = [views[k][layer].shape[:3] for k in chosen]
        means = [plain.weights[0].new_zeros(size, dtype=torch.float64) for size in sizes]
        squares = [mean.clone() for mean in means]  # sums of squared deviations
        for rows in samples.blocks():
            before, block = rows.start, rows.stop - rows.start
            with quiet():
                buffers = plain.forward(seated.block(rows)[0])
            for k, mean, square in zip(chosen, means, squares, strict=True):
                z = buffers.layers[k][layer].z.double().view(*mean.shape, block)
                here = average(z)[..., 0]
                square.add_(total((z - here[..., None]).square(), z.dim() - 1))
                step = here - mean
                square.add_(step * step * (before * block / rows.stop))
                mean.add_(step * (block / rows.stop))
        for k, mean, square in zip(chosen, means, squares, strict=True):
            weights = views[k][layer].double()
            root = (square / samples.size + EPSILON).sqrt()
            biases = weights[..., -1].clone()
            folds = weights / root[..., None]
            folds[..., -1] = biases + (biases - mean) / root
            views[k][layer].copy_(folds)
    return plain
