"""Structured representatives: points that rebuild all others, by a convex program."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _checks
from jaxdist.contrib import _graph_total_variation_prox, _group_soft_threshold
from jaxdist.geometry import _geometry

_MIXTURES = 5  # of the two proximal operators, in each step
_DUAL_STEPS = 30  # of total variations; each starts from the last
_EDGES = 64  # edges are filled up to a multiple of these, so that programs are shared


class StructuredRepresentatives(NamedTuple):
    """Result of :func:`structured_representatives`."""

    indices: jax.Array  # int32 [num], of the longest rows of the coefficients
    coefficients: jax.Array  # float32 [n, n]; column j rebuilds point j
    objectives: jax.Array  # float32 [num_steps], after each step; no unit


class _TiedPoints(NamedTuple):
    """Who is tied to whom, and how strongly."""

    edges: np.ndarray  # int32 [E, 2]
    weights: np.ndarray  # float32 [E]


_NOT_TIED = _TiedPoints(np.zeros((0, 2), np.int32), np.zeros(0, np.float32))


def structured_representatives(
    points: Any,
    num: int,
    *,
    sparsity: float = 10.0,
    diversity: float | None = 10.0,
    locality: float | None = 10.0,
    num_near: int = 3,
    num_steps: int = 60,
) -> StructuredRepresentatives:
    r"""Choose points from which all others are rebuilt (SSDS), for comparison.

    .. math:: \min_V \frac{1}{2\Lambda}\|X - XV\|_F^2 + \lambda_g \sum_i \|v^i\|_2
       + \sum_{i<j} \theta_{ij}\|v^i - v^j\|_1 + \sum_{i<j} \rho_{ij}\|v_i - v_j\|_1

    with rows :math:`v^i` and columns :math:`v_j` of V, and columns of X that are the
    points without their mean. Points whose rows are longest are the representatives.
    Rows of mutually farthest points are tied (:math:`\theta`, diversity), and columns
    of mutually nearest ones (:math:`\rho`, locality).

    **Use** :func:`representatives` **instead.** Where we measured, this takes thousands
    of times as long, and chance chooses better: long rows are those of extreme points.
    It is here so that anybody can check that. Useful elsewhere are its proximal
    operators, :func:`group_soft_threshold` and :func:`graph_total_variation_prox`.

    Args:
      points: ``[n, d]``, in any unit: nothing depends on the scale. Known numbers,
        since graphs are made of them by NumPy. A few hundred; the cost grows as n².
      num: Representatives, in [1, n].
      sparsity: :math:`\lambda_{max}/(\Lambda\lambda_g)`, above 0, no unit; larger keeps
        more rows. At 1 or less without the other terms V is 0.
      diversity: The same for :math:`\theta`, in units of its largest weight; None
        leaves the term out, and V then has rows that are exactly 0.
      locality: The same for :math:`\rho`; None leaves the term out.
      num_near: Places among the farthest, and among the nearest, itself included, that
        two points must take of each other to be tied; at least 1.
      num_steps: Of the accelerated proximal gradient method. The paper takes 10, which
        leaves some percent of the objective.

    Returns:
      Indices, coefficients and objectives. A point that is not finite is never chosen
      and rebuilds nothing; with fewer finite points than ``num`` the rest of the
      indices repeat the first.

    Raises:
      ValueError: If an argument is out of range, or ``points`` are no matrix of real
        numbers, or traced.

    Communication:
      None.

    Example:
      >>> points = jnp.array([[4.0, 0], [3, 0], [0, 4], [0, 3], [-4, -4], [-3, -3]])
      >>> found = jaxdist.contrib.structured_representatives(points, 3, diversity=None)
      >>> print(sorted(found.indices.tolist()))
      [0, 2, 4]

    References:
      Wang et al., `Representative Selection with Structured Sparsity
      <https://doi.org/10.1016/j.patcog.2016.10.014>`_, 2017. Total variations are
      solved in their dual, from the last solution on, and not by parametric flows;
      pairs count once.
    """
    array, finite = _checked_points(points)
    num = _checks.integer("num", num, 1, len(array))
    sparsity = _checks.real("sparsity", sparsity, 0.0, above=True, static=True)
    for name, value in (("diversity", diversity), ("locality", locality)):
        if value is not None:
            _checks.real(name, value, 0.0, above=True, static=True)
    num_near = _checks.integer("num_near", num_near, 1)
    num_steps = _checks.integer("num_steps", num_steps, 1)
    gram = array @ array.T
    smoothness = max(float(np.linalg.norm(gram)), np.finfo(float).tiny)
    largest = float(np.linalg.norm(gram, axis=1).max()) / smoothness
    far, near = _graphs_of(array, finite, num_near)
    coefficients, objectives = _solve_program(
        jnp.asarray(array / np.sqrt(smoothness), jnp.float32),
        jnp.float32(largest / sparsity),
        _scaled_graph(far, largest, diversity),
        _scaled_graph(near, largest, locality),
        num_steps=num_steps,
    )
    lengths = jnp.where(finite, jnp.linalg.norm(coefficients, axis=1), -1)
    kept, indices = jax.lax.top_k(lengths, num)
    indices = jnp.where(kept >= 0, indices, indices[0])
    return StructuredRepresentatives(indices, coefficients, objectives)


def _checked_points(value):
    """Return float64 points without their mean, and which are finite, or raise."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # ragged lists, and what is traced
        array = np.empty(0, object)
    is_real = array.dtype.kind in "iuf" or jnp.issubdtype(array.dtype, jnp.floating)
    if not is_real or array.ndim != 2 or not array.size:
        raise ValueError(f"`points` must be known real numbers [n, d], got {value!r}.")
    array = array.astype(float)
    finite = np.asarray(np.isfinite(array).all(axis=1))
    array = np.where(finite[:, None], array, 0)
    mean = array.sum(axis=0) / max(finite.sum(), 1)
    return np.where(finite[:, None], array - mean, 0), finite


def _graphs_of(array, finite, num_near):
    """Return the graphs of mutually farthest and of mutually nearest points."""
    norms = np.sum(array**2, axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * array @ array.T, 0)
    np.fill_diagonal(squares, 0)
    squares, places = squares[finite][:, finite], np.flatnonzero(finite)
    place = min(num_near, len(places)) - 1
    if place < 0:
        nobody = _padded_graph(squares > 0, squares, places)
        return nobody, nobody
    ordered = np.sort(squares, axis=0)
    is_far, is_near = squares >= ordered[-1 - place], squares <= ordered[place]
    largest, middle = squares.max(), np.median(squares)
    far = squares / (largest or 1.0)
    near = np.exp(-squares / (2 * (middle or 1.0)))
    return (
        _padded_graph(is_far & is_far.T, far, places),
        _padded_graph(is_near & is_near.T, near, places),
    )


def _scaled_graph(graph, largest, strength):
    """Return a graph with weights of a term; without edges where there is no term."""
    if strength is None:
        return _NOT_TIED
    return graph._replace(weights=np.float32(graph.weights * largest / strength))


def _padded_graph(tied, weights, places):
    """Return a graph with edges of no weight up to a multiple of some."""
    one, other = np.nonzero(np.triu(tied, 1))
    edges = np.stack([places[one], places[other]], axis=1).astype(np.int32)
    missing = _EDGES * max(1, -(-len(one) // _EDGES)) - len(one)
    strengths = np.pad(weights[one, other], (0, missing)).astype(np.float32)
    return _TiedPoints(np.pad(edges, ((0, missing), (0, 0))), strengths)


@functools.partial(jax.jit, static_argnames="num_steps")
def _solve_program(points, penalty, far, near, num_steps):
    """Return coefficients ``[n, n]`` and objectives ``[num_steps]`` (FISTA)."""

    def residual(coefficients):
        return points - _geometry.exact_product(coefficients.T, points)

    def objective(coefficients):
        lengths = jnp.linalg.norm(coefficients, axis=1)
        return (
            jnp.sum(residual(coefficients) ** 2) / 2
            + penalty * jnp.sum(lengths)
            + _variation(coefficients, far)
            + _variation(coefficients.T, near)
        )

    def step(carry, _):
        last, ahead, momentum, duals = carry
        moved = ahead + _geometry.exact_product(points, residual(ahead).T)
        found, duals = _joint_prox(moved, penalty, far, near, duals)
        grown = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
        ahead = found + (momentum - 1) / grown * (found - last)
        return (found, ahead, grown, duals), objective(found)

    number = len(points)
    zeros = jnp.zeros_like(points, shape=(number, number))
    duals = tuple(
        jnp.zeros_like(points, shape=(len(graph.edges), number))
        for graph in (far, near)
    )
    start = zeros, zeros, jnp.ones_like(penalty), duals
    (found, *_), objectives = jax.lax.scan(step, start, length=num_steps)
    return found, objectives


def _variation(values, graph):
    """Return the total variation of ``[n, ...]`` over a graph."""
    apart = values[graph.edges[:, 0]] - values[graph.edges[:, 1]]
    return jnp.sum(jnp.abs(apart) * graph.weights[:, None])


def _joint_prox(values, penalty, far, near, duals):
    """Return the prox of both terms by parallel Dykstra, and the dual solutions.

    Each of the two has weight 1/2, so its penalties count twice. Without far edges one
    of them is all there is, and its prox is exact: a total variation is homogeneous, so
    it may come first.
    """
    if not len(far.edges):
        short, dual = _shrink_rows(values, penalty, near, duals[1])
        return short, (duals[0], dual)
    near, far = (graph._replace(weights=2 * graph.weights) for graph in (near, far))

    def mix(_, carry):
        rows, columns, _, (far_dual, near_dual) = carry
        short, near_dual = _shrink_rows(rows, 2 * penalty, near, near_dual)
        tied, far_dual = _shrink_variation(columns, far, far_dual)
        mean = (short + tied) / 2
        rows, columns = mean + rows - short, mean + columns - tied
        return rows, columns, mean, (far_dual, near_dual)

    start = values, values, values, duals
    _, _, mean, duals = jax.lax.fori_loop(0, _MIXTURES, mix, start)
    return mean, duals


def _shrink_rows(values, penalty, near, dual):
    """Return columns closer to near ones, then rows that are shorter; and the dual."""
    alike, dual = _shrink_variation(values.T, near, dual)
    return _group_soft_threshold.group_soft_threshold(alike.T, penalty), dual


def _shrink_variation(values, graph, dual):
    """Return the prox of the total variation, and the dual."""
    found = _graph_total_variation_prox.graph_total_variation_prox(
        values, graph.edges, graph.weights, _DUAL_STEPS, dual
    )
    return found.values, found.dual
