"""The grid of a sweep, cut into chunks.

A *chunk* is a block of neighboring cells: what is trained in one call, committed at once and
stored as one zarr chunk. Chunks are numbered in store order, the last axis fastest; those at the
end of an axis may be smaller.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Grid", "lengths"]


@dataclass(frozen=True)
class Grid:
    """A grid of cells and the shape of its chunks.

    Parameters
    ----------
    shape : tuple of int
        Number of cells along each axis.
    chunk : tuple of int
        Number of cells of a whole chunk along each axis, 1 <= chunk <= shape.

    Raises
    ------
    ValueError
        If the chunk does not fit the grid.

    Examples
    --------
    >>> grid = Grid(shape=(3, 4), chunk=(2, 4))
    >>> len(grid)
    2
    >>> grid.block(1)
    (slice(2, 3, None), slice(0, 4, None))
    >>> grid.cells(1)
    array([ 8,  9, 10, 11])
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]

    def __post_init__(self) -> None:
        fits = len(self.chunk) == len(self.shape) and all(
            1 <= block <= length for block, length in zip(self.chunk, self.shape, strict=True)
        )
        if not fits:
            raise ValueError(
                f"a chunk needs 1 <= chunk <= shape along each axis; got chunk={self.chunk} with "
                f"shape={self.shape}. Give one length an axis."
            )

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True))

    def __len__(self) -> int:
        return math.prod(self.counts)

    @property
    def everything(self) -> tuple[slice, ...]:
        """The slices of all cells."""
        return tuple(slice(0, n) for n in self.shape)

    def block(self, number: int) -> tuple[slice, ...]:
        """Give the slices of one chunk, clipped at the end of each axis."""
        index = np.unravel_index(number, self.counts)
        return tuple(
            slice(int(i) * c, min((int(i) + 1) * c, n))
            for i, c, n in zip(index, self.chunk, self.shape, strict=True)
        )

    def cells(self, number: int) -> npt.NDArray[np.intp]:
        """Give the numbers of the cells of one chunk, in store order."""
        ranges = np.ix_(*(np.arange(part.start, part.stop) for part in self.block(number)))
        return np.ravel_multi_index(ranges, self.shape).reshape(-1)

    def find(
        self, grown: "Grid", number: int, places: npt.NDArray[np.intp]
    ) -> tuple[int, npt.NDArray[np.intp]]:
        """Find cells of one chunk again after the grid has grown.

        Parameters
        ----------
        grown : Grid
            A grid of the same chunks whose shape is at least this one's.
        number : int
            The chunk.
        places : array of int
            Positions of cells in the flattened chunk.

        Returns
        -------
        tuple
            The chunk in the grown grid, and the positions in it.

        Examples
        --------
        >>> Grid((3,), (2,)).find(Grid((6,), (2,)), 1, np.array([0]))
        (1, array([0]))
        """
        after = int(np.ravel_multi_index(np.unravel_index(number, self.counts), grown.counts))
        index = np.unravel_index(places, lengths(self.block(number)))
        return after, np.ravel_multi_index(index, lengths(grown.block(after)))

    def of_cells(self) -> npt.NDArray[np.intp]:
        """Give the number of the chunk that holds each cell, in the shape of the grid."""
        indices = [np.arange(n) // c for n, c in zip(self.shape, self.chunk, strict=True)]
        return np.ravel_multi_index(np.ix_(*indices), self.counts)


def lengths(block: tuple[slice, ...]) -> tuple[int, ...]:
    """Give the number of cells of a block along each axis."""
    return tuple(part.stop - part.start for part in block)
