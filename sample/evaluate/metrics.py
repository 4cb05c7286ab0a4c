"""How right a map is, up to what it leaves open: a scale and a shift."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

#: Below this disparity, one over the nearest depth, relative errors are about the horizon alone.
SMALLEST = 0.05
#: delta1: the share of pixels that are off by less than this factor.
FACTOR = 1.25
#: What an aligned disparity is at least: a negative one has no depth.
POSITIVE = 1e-3


@dataclass(frozen=True)
class Score:
    """Of one map, or the mean of several."""

    abs_rel: float
    delta1: float


def score(predicted: Array, truth: Array) -> Score:
    """Align a map to the truth by least squares, and compare.

    Args:
        predicted: H x W, any scale and shift.
        truth: H x W, disparity in [0, 1] with a true zero; what is below `SMALLEST` is left out.

    Raises:
        ValueError: nothing is left to compare.
    """
    seen = truth >= SMALLEST
    if not seen.any():
        raise ValueError(f"no disparity is {SMALLEST} or larger")
    want = truth[seen].astype(np.float64)
    got = np.maximum(align(predicted[seen].astype(np.float64), want), POSITIVE)
    factor = np.maximum(got / want, want / got)
    return Score(
        abs_rel=float(np.mean(np.abs(got - want) / want)),
        delta1=float(np.mean(factor < FACTOR)),
    )


def align(predicted: Array, truth: Array) -> Array:
    """Scale and shift values so that their squared distance to the truth is least."""
    columns = np.stack([predicted, np.ones_like(predicted)], axis=1)
    solution, *_ = np.linalg.lstsq(columns, truth, rcond=None)
    return columns @ solution


def mean(scores: list[Score]) -> Score:
    return Score(
        abs_rel=float(np.mean([score.abs_rel for score in scores])),
        delta1=float(np.mean([score.delta1 for score in scores])),
    )
