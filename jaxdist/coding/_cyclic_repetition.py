"""Cyclic repetition: a linear code for any number of workers, if few are missing.

The weights that decode it grow so fast with the number of workers that a decoded sum
soon has few correct digits in float32. The best of many draws has weights about ten
times smaller than one draw (in the median over keys, of 10 workers and 3 stragglers, 55
and not 720). What is still too large is refused.
"""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _checks
from jaxdist.coding import _code, _placement

_LARGEST = 100.0  # weight in float32: an error of some 1e-5 of the messages
_NUM_DRAWS = 64  # of which the one with the smallest weights is taken
_MOST_SETS = 20_000  # of stragglers that are tried, of the draw that is taken
_FEW_SETS = 500  # of stragglers that are tried, of every draw


def cyclic_repetition(
    num_workers: int,
    num_stragglers: int,
    num_units: int | None = None,
    key: int | jax.Array = 0,
) -> _code.Code:
    r"""Give each worker :math:`s + 1` neighbouring blocks, so any s may be missing.

    .. math:: z_i = \sum_{j=i}^{i+s} C_{ij} g_{j \bmod W}, \qquad
       H C^T = 0, \quad C_{ii} = 1, \quad H 1 = 0

    with a random :math:`H` of s rows. Any W - s rows of :math:`C` then combine to ones.
    Of 64 draws the one with the smallest weights is taken. They are known for all sets
    of s stragglers, or for 20,000 random sets where there are more. The weights grow
    fast with W and s: in float32 the code is usable for about ten workers. Where
    :math:`s + 1` divides W, prefer :func:`fractional_repetition` with weights 0 and 1.

    Args:
      num_workers: W, at least 1.
      num_stragglers: :math:`s`, workers that may be missing whoever they are, in
        [0, W-1].
      num_units: Units of data, at least W. They are split as evenly as possible; W by
        default.
      key: Seed or key of :math:`H`.

    Returns:
      A linear code with W blocks, of which any W - s workers are needed and are enough.

    Raises:
      ValueError: If an argument is out of range, or if the largest weight is above 100,
        for which a sum in float32 is off by some 1e-5 of the messages (above 5e10
        under x64, for the same error).

    Communication:
      Simulated. Each worker sends one gradient: :math:`4 d` bytes for :math:`d` float32
      parameters.

    Example:
      >>> code = jaxdist.coding.cyclic_repetition(4, num_stragglers=1)
      >>> print(code.loads, code.threshold, code.num_messages)
      [2 2 2 2] 3 [1 1 1 1]
      >>> weights = code.decode(jnp.array([True, False, True, True])).weights
      >>> print(jnp.round(weights @ code.coefficients.astype(jnp.float32), 4))
      [1. 1. 1. 1.]

    References:
      Tandon et al., `Gradient Coding: Avoiding Stragglers in Distributed Learning
      <https://proceedings.mlr.press/v70/tandon17a.html>`_, 2017, Algorithm 1. There
      the last column of :math:`H` makes its rows add up to 0; here all columns do, and
      the best of 64 draws is taken.
    """
    num_workers = _checks.integer("num_workers", num_workers, 1)
    s = _checks.integer("num_stragglers", num_stragglers, 0, num_workers - 1)
    if num_units is not None:
        num_units = _checks.integer("num_units", num_units, num_workers)
    more = "" if num_units is None else f", {num_units}"
    name = f"cyclic_repetition({num_workers}, {s}{more})"
    shape = (2, _NUM_DRAWS, s, num_workers)
    uniform = _placement.drawn_uniforms(key, "cyclic_repetition", shape)
    sets = _straggler_sets(num_workers, s)
    tables = [_cyclic_coefficients(normal) for normal in _normals(*uniform)]
    few = sets[:: -(-len(sets) // _FEW_SETS)]
    best = min(tables, key=lambda table: largest_weight(table, few))
    _check_weight(name, largest_weight(best, sets))
    steps = np.arange(num_workers)
    distance = (steps - steps[:, None]) % num_workers  # [W, B]
    return _code.Code(
        name,
        distance <= s,
        _placement.even_sizes(num_units or num_workers, num_workers),
        best,
        num_workers - s,
    )


def _normals(radius, angle):
    """Return normal numbers of pairs of uniform ones (Box and Muller)."""
    return np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)


def _cyclic_coefficients(normal):
    """Return the rows ``[W, W]`` orthogonal to random ones that add up to 0."""
    s, num_workers = normal.shape
    random = normal - normal.mean(axis=1, keepdims=True)
    table = np.eye(num_workers)
    for i in range(num_workers if s else 0):
        others = (i + 1 + np.arange(s)) % num_workers
        table[i, others] = -np.linalg.solve(random[:, others], random[:, i])
    return table


def _straggler_sets(num_workers, s):
    """Return sets of workers ``[n, s]``: all, or some where there are too many."""
    if math.comb(num_workers, s) <= _MOST_SETS:
        every = list(itertools.combinations(range(num_workers), s))
        return np.array(every, int).reshape(len(every), s)
    order = np.random.default_rng(0).random((_MOST_SETS, num_workers))
    return np.argsort(order, axis=1)[:, :s]


def largest_weight(table: np.ndarray, sets: np.ndarray) -> float:
    """Return the largest weight that decodes without one of these sets of workers."""
    num_workers, s = len(table), sets.shape[1]
    whole = np.linalg.lstsq(table.T, np.ones(num_workers), rcond=None)[0]
    if not s:
        return float(np.abs(whole).max())
    null = np.linalg.svd(table)[0][:, num_workers - s :]
    shift = np.linalg.solve(null[sets], -whole[sets][..., None])[..., 0]  # [n, s]
    return float(np.abs(whole + shift @ null.T).max())


def _check_weight(name, weight):
    """Raise if sums would be off, in the widest floating dtype that there is."""
    eps = float(jnp.finfo(jnp.result_type(float)).eps)
    largest = _LARGEST * float(jnp.finfo(jnp.float32).eps) / eps
    if not weight <= largest:
        raise ValueError(
            f"`num_stragglers` of {name} must leave weights up to {largest:.3g}, got "
            f"{weight:.3g}: a decoded sum would be off by some {weight * eps:.0e} of "
            "the messages. Use fractional_repetition or batched_coupons, whose weights "
            "are 0 and 1, another `key`, or jax_enable_x64."
        )
