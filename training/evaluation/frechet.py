"""Distance between two sets of designs: Fréchet's, of the normal distributions with the moments of their features.

Heusel et al., GANs Trained by a Two Time-Scale Update Rule (2017), equation 6; with Inception's features it is the FID.
What the features are is the caller's choice: ``training.evaluation.features``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.float64]
"""``[N, F]``: of N designs."""


@dataclass(frozen=True)
class Interval:
    """A distance, and the interval that holds that of the populations with the asked confidence.

    ``value`` of few samples is too large, on average; the interval is corrected for that and may lie below it.
    """

    value: float
    low: float
    high: float


def frechet_distance(one: Features, other: Features) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) of the means and covariances of two sets of features.

    With C = L Lᵀ, the trace of the root is the sum of the singular values of L1ᵀ L2: no root of a nearly singular
    product is taken, so fewer samples than features, or features that never vary, cost no accuracy.

    Raises:
        ValueError: a set of fewer than two, values that are not finite, or not the same number of features.
    """
    for features in (one, other):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"a set of features must be [N, F] with two designs or more, not {list(features.shape)}")
        if not np.isfinite(features).all():
            raise ValueError("features hold values that are not finite")
    if one.shape[1] != other.shape[1]:
        raise ValueError(f"{one.shape[1]} features are not compared with {other.shape[1]}")
    between = np.square(one.mean(axis=0) - other.mean(axis=0)).sum()
    first, second = _factor(one), _factor(other)
    within = np.square(first).sum() + np.square(second).sum()
    shared = np.linalg.svd(first.T @ second, compute_uv=False).sum()
    return max(0.0, float(between + within - 2 * shared))


def frechet_interval(
    one: Features, other: Features, *, draws: int = 200, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The distance with its bootstrap interval. Row i of both sets is of the same design.

    Designs are drawn again, with replacement, ``draws`` times, the two rows of one together: what a method makes of a
    design is like it, so that both sets err alike, and two sets drawn apart would differ by far more. A drawn set is as
    far too large against the given one as that is against its population. The basic interval (Davison and Hinkley,
    Bootstrap Methods, 1997, section 5.2) reflects the drawn distances at the given one and so takes this bias off. It
    ends at 0.

    Raises:
        ValueError: as ``frechet_distance``, or the sets are not of as many designs.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} designs are not {len(other)} designs; an interval is of sets of the same ones")
    value = frechet_distance(one, other)
    rng = np.random.default_rng(seed)
    places = (rng.integers(len(one), size=len(one)) for _ in range(draws))
    drawn = [frechet_distance(one[at], other[at]) for at in places]
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]).tolist()
    return Interval(value, max(0.0, 2 * value - high), max(0.0, 2 * value - low))


def _factor(features: Features) -> Features:
    """L ``[F, F]`` with L Lᵀ the covariance, by its eigenvalues; rounding makes none of them negative."""
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(features, rowvar=False)))
    factor: Features = vectors * np.sqrt(values.clip(min=0))
    return factor
