"""Estimates: how biased, how noisy, how contractive a compressor is on one leaf."""

import functools
import math
import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from jaxdist import _checks, _random
from jaxdist.compression import _compressor, _per_leaf
from jaxdist.testing import _run

_GROUPS = 100  # of draws, whose means are close to normal
_ELEMENTS = 2**20  # that are encoded at once, or one group


class Estimate(NamedTuple):
    """A number that was estimated from draws, and an interval around it."""

    estimate: float
    low: float
    high: float
    num_draws: int
    confidence: float
    """Probability with which the interval holds the true number."""

    def __str__(self):
        return (
            f"{self.estimate:.4g} ({self.low:.4g} to {self.high:.4g} with confidence "
            f"{self.confidence:g}, {self.num_draws} draws)"
        )


def estimate_bias(
    compressor: _compressor.Compressor,
    leaf: jax.Array,
    *,
    blocks: int = 1,
    num_draws: int = 10_000,
    confidence: float = 0.99,
    seed: int = 0,
) -> Estimate:
    r"""Estimate the bias relative to the leaf.

    .. math:: \|\mathbb{E}\,C(x) - x\| / \|x\|

    The estimate of its square is unbiased. The interval takes the means of 100 groups
    of draws to be normal, and bounds the norm of their mean error by its concentration.

    Args:
      compressor: :math:`C`.
      leaf: :math:`x`, not zero.
      blocks: Into how many blocks the leaf is cut.
      num_draws: Keys to draw, at least 200.
      confidence: Of the interval, in [0.5, 1).
      seed: Of the keys.

    Returns:
      The estimate, at least 0, and its interval; no unit.

    Raises:
      ValueError: If an argument is out of range.
      TypeError: If ``compressor`` is none.

    Communication:
      None.

    Example:
      >>> import jaxdist.testing
      >>> halved = jaxdist.compression.contractive(jaxdist.compression.random_k(0.5))
      >>> print(jaxdist.testing.estimate_bias(halved, jnp.ones(8)))
      0.5 (0.4864 to 0.5137 with confidence 0.99, 10000 draws)
    """
    drawn = _draw_errors(compressor, leaf, blocks, num_draws, confidence, seed)
    chunks = [(chunk.mean(axis=0), len(chunk)) for chunk in drawn]
    groups = np.stack([mean for mean, _ in chunks])
    centre = groups.mean(axis=0)
    # The covariances of the groups as a matrix of their inner products: their number
    # is small, that of the elements need not be.
    inner = (groups - centre) @ (groups - centre).T / (len(groups) - 1)
    total, largest = np.trace(inner), np.linalg.eigvalsh(inner)[-1]
    radius = math.sqrt(total / len(groups)) + math.sqrt(
        2 * largest * math.log(1 / (1 - confidence)) / len(groups)
    )
    norm = float(np.linalg.norm(centre))
    estimate = math.sqrt(max(0.0, norm**2 - total / len(groups)))
    return Estimate(
        estimate,
        max(0.0, norm - radius),
        norm + radius,
        sum(length for _, length in chunks),
        confidence,
    )


def estimate_variance(
    compressor: _compressor.Compressor,
    leaf: jax.Array,
    *,
    blocks: int = 1,
    num_draws: int = 10_000,
    confidence: float = 0.99,
    seed: int = 0,
) -> Estimate:
    r"""Estimate the squared error relative to the leaf.

    .. math:: \mathbb{E}\|C(x)-x\|^2 / \|x\|^2

    For this leaf alone: a contract bounds the worst over all leaves. The interval takes
    the mean of the draws to be normal.

    Args:
      compressor: :math:`C`.
      leaf: :math:`x`, not zero.
      blocks: Into how many blocks the leaf is cut.
      num_draws: Keys to draw, at least 200.
      confidence: Of the interval, in [0.5, 1).
      seed: Of the keys.

    Returns:
      The estimate and its interval; no unit.

    Raises:
      ValueError: If an argument is out of range.
      TypeError: If ``compressor`` is none.

    Communication:
      None.

    Example:
      >>> import jaxdist.testing
      >>> rand_k = jaxdist.compression.random_k(0.5)
      >>> print(jaxdist.testing.estimate_variance(rand_k, jnp.ones(8)))
      1 (1 to 1 with confidence 0.99, 10000 draws)
    """
    drawn = _draw_errors(compressor, leaf, blocks, num_draws, confidence, seed)
    squared = np.concatenate([np.sum(chunk**2, axis=1) for chunk in drawn])
    mean, deviation = float(squared.mean()), float(squared.std(ddof=1))
    quantile = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    radius = quantile * deviation / math.sqrt(len(squared))
    return Estimate(mean, mean - radius, mean + radius, len(squared), confidence)


def estimate_contraction(
    compressor: _compressor.Compressor,
    leaf: jax.Array,
    *,
    blocks: int = 1,
    num_draws: int = 10_000,
    confidence: float = 0.99,
    seed: int = 0,
) -> Estimate:
    r"""Estimate how much of the squared leaf survives.

    .. math:: 1 - \mathbb{E}\|C(x)-x\|^2 / \|x\|^2

    Args:
      compressor: :math:`C`.
      leaf: :math:`x`, not zero.
      blocks: Into how many blocks the leaf is cut.
      num_draws: Keys to draw, at least 200.
      confidence: Of the interval, in [0.5, 1).
      seed: Of the keys.

    Returns:
      One minus what :func:`estimate_variance` returns, for this leaf alone.

    Raises:
      ValueError: If an argument is out of range.
      TypeError: If ``compressor`` is none.

    Communication:
      None.

    Example:
      >>> import jaxdist.testing
      >>> top = jaxdist.compression.top_k(0.5)
      >>> print(jaxdist.testing.estimate_contraction(top, jnp.ones(8)))
      0.5 (0.5 to 0.5 with confidence 0.99, 10000 draws)
    """
    variance = estimate_variance(
        compressor,
        leaf,
        blocks=blocks,
        num_draws=num_draws,
        confidence=confidence,
        seed=seed,
    )
    return Estimate(
        1 - variance.estimate,
        1 - variance.high,
        1 - variance.low,
        variance.num_draws,
        confidence,
    )


def _draw_errors(
    compressor: _compressor.Compressor,
    leaf: jax.Array,
    blocks: int,
    num_draws: int,
    confidence: float,
    seed: int,
) -> Iterator[np.ndarray]:
    """Check the arguments; yield groups of errors of one leaf, over its norm."""
    _per_leaf.check_compressor("compressor", compressor)
    blocks = _checks.integer("blocks", blocks, 1)
    num_draws = _checks.integer("num_draws", num_draws, 2 * _GROUPS)
    confidence = _checks.real(
        "confidence", confidence, 0.5, math.nextafter(1, 0), static=True
    )
    leaf = _checks.array("leaf", leaf)
    exact = _run.exact_array(leaf)
    if not np.isfinite(exact).all() or not exact.any():
        raise ValueError("`leaf` must be finite and not all zero.")

    return _group_means(
        _repeated_draws(compressor, blocks),
        leaf,
        math.ceil(num_draws / _GROUPS),
        _random.as_key(_checks.integer("seed", seed, 0)),
    )


def _group_means(
    encode: Callable[..., jax.Array], leaf: jax.Array, length: int, key: jax.Array
) -> Iterator[np.ndarray]:
    """Yield the errors of ``length`` draws at a time, ``[length, size]``."""
    exact = _run.exact_array(leaf)
    most = _ELEMENTS // (leaf.size * length)
    at_once = max(
        n for n in range(1, _GROUPS + 1) if n <= max(1, most) and not _GROUPS % n
    )
    for step in range(_GROUPS // at_once):
        keys = jax.random.split(jax.random.fold_in(key, step), at_once * length)
        errors = (_run.exact_array(encode(leaf, keys)) - exact) / np.linalg.norm(exact)
        yield from errors.reshape(at_once, length, -1)


@functools.lru_cache(maxsize=32)
def _repeated_draws(compressor: _compressor.Compressor, blocks: int):
    """Return what is seen of one leaf with ``keys [n]``, compiled."""

    def seen(leaf, key):
        keys = _random.keys_of(key, 0)
        return _run.round_trip(
            compressor, leaf, compressor.init(leaf), keys, blocks
        ).seen

    return jax.jit(jax.vmap(seen, in_axes=(None, 0)))
