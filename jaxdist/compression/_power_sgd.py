"""PowerSGD: a low-rank approximation that all workers refine together."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _matrix, _sampling, _scaling


class PowerSgdState(NamedTuple):
    """State of :func:`power_sgd`."""

    right: jax.Array  # [*batch, m, max_rank], float32 or wider; zeros are drawn again


def power_sgd(
    rank: int, *, max_rank: int | None = None, axes: _matrix.MatrixAxes | None = None
) -> _compressor.Compressor:
    r"""Approximate a matrix by one step of subspace iteration, warm-started.

    .. math:: P = \mathrm{orth}\Big(\frac{1}{W}\sum_i M_i Q\Big), \qquad
       Q' = \frac{1}{W}\sum_i M_i^\top P, \qquad C(M) = P Q'^\top

    :math:`Q'` starts the next step. A leaf of more than two axes is one matrix, cut
    where its factors have the fewest elements, or many: see ``axes``. Leaves that would
    not shrink, or with fewer than two axes, travel as they are. Columns of :math:`Q`
    that are zero (at the start, or after a gradient of too low a rank) are drawn again,
    the same on all workers; columns of :math:`P` that depend on others become zero.
    Nothing is divided by zero.

    Args:
      rank: :math:`r \ge 1`, the number of columns of P and Q.
      max_rank: Columns that the state holds, for a schedule that goes through several
        ranks with one state; ``rank`` when None.
      axes: Which axes are rows, columns, or hold matrices of their own, such as
        ``MatrixAxes(batch=0)`` for layers that are scanned. Patterns of :func:`by_leaf`
        give each leaf its own.

    Returns:
      A compressor with a dialogue. Under :func:`jaxdist.rules.mean` the route psum
      holds two all-reduces, of all leaves' P and then of all leaves' Q, and the result
      does not depend on the number of workers when all hold the same matrix. On the
      route gather each worker sends factors of its own matrix, so that robust rules can
      use it. With :math:`Q` drawn, :math:`\delta \ge 1/d` in expectation. NaN or
      infinity makes its matrix non-finite, and the next step draws a new
      :math:`Q`.

    Raises:
      TypeError: If ``axes`` are none.
      ValueError: If ``rank`` is below 1, or ``max_rank`` below ``rank``; when applied,
        if a leaf has no such axes.

    Communication:
      Payload of :math:`r(n+m)` elements in the dtype of the leaf for each matrix of
      :math:`n \times m`; all :math:`nm` where that is less.

    Example:
      >>> matrix = jnp.outer(jnp.arange(9.0), jnp.ones(8))
      >>> sent, _ = jaxdist.roundtrip(jaxdist.compression.power_sgd(rank=1), matrix, 0)
      >>> print(bool(jnp.allclose(sent, matrix, atol=1e-4)))
      True

    References:
      Vogels et al., `PowerSGD: Practical Low-Rank Gradient Compression for Distributed
      Optimization <https://arxiv.org/abs/1905.13727>`_, 2019, Algorithm 1.
    """
    rank = _checks.integer("rank", rank, 1)
    columns = rank if max_rank is None else _checks.integer("max_rank", max_rank, rank)
    _matrix.check_axes("axes", axes)

    def stack_of(leaf):
        """Return how the leaf is cut into matrices, or None where it would not pay."""
        stack = _matrix.stack_of(leaf.shape, axes)
        return stack if stack.shrinks(rank) else None

    def init(leaf):
        stack = stack_of(leaf)
        if stack is None:
            return ()
        shape = (*stack.batch_shape, stack.matrix_shape[1], columns)
        dtype = _tree.accumulator_dtype(leaf.dtype)
        return PowerSgdState(jnp.zeros_like(leaf, shape=shape, dtype=dtype))

    def ask_left(leaf, state, keys, means):
        del means
        stack = stack_of(leaf)
        if stack is None:
            return leaf[None]
        known = _known_columns(state)[..., :rank]
        right = _start_columns(known, keys.common)
        left = _times_columns(stack.split(leaf, right.dtype), right)
        return _sampling.narrowed_values(left, leaf.dtype)[None]

    def ask_right(leaf, state, keys, means):
        del keys
        stack = stack_of(leaf)
        if stack is None:
            return ()
        left = _orthonormal_columns(means[0][0].astype(state.right.dtype))
        matrices = stack.split(leaf, left.dtype).swapaxes(1, 2)
        right = _times_columns(matrices, left)
        return _sampling.narrowed_values(right, leaf.dtype)[None]

    def finish(leaf, state, keys, means):
        stack = stack_of(leaf)
        if stack is None:
            return means[0][0], state
        left = _orthonormal_columns(means[0][0].astype(state.right.dtype))
        right = means[1][0].astype(left.dtype)
        finite = jnp.isfinite(right).all(axis=1, keepdims=True)
        kept = jnp.where(finite, right, 0)
        known = _known_columns(state)
        kept = jax.lax.dynamic_update_slice(known, kept, (0, 0, 0))
        product = stack.join(_product_of(left, right))
        return product, PowerSgdState(kept.reshape(state.right.shape))

    def encode(leaf, state, keys, blocks):
        del blocks  # is 1: the leaf cannot be split
        left = ask_left(leaf, state, keys, ())
        right = ask_right(leaf, state, keys, (left,))
        _, state = finish(leaf, state, keys, (left, right))
        return (left, right), state

    def decode(payload, like, keys):
        del keys
        left, right = payload
        stack = stack_of(like)
        if stack is None:
            return left[0].astype(like.dtype)
        dtype = _tree.accumulator_dtype(like.dtype)
        left = _orthonormal_columns(left[0].astype(dtype))
        product = _product_of(left, right[0].astype(dtype))
        return stack.join(product).astype(like.dtype)

    contract = _compressor.Contract(
        variance=lambda size: 1.0 - 1.0 / size,
        splittable=False,
        stochastic=True,
        aligned=True,
    )
    suffix = "" if max_rank is None else f", max_rank={max_rank}"
    suffix += "" if axes is None else f", axes={axes}"
    return _compressor.Compressor(
        init,
        encode,
        decode,
        contract,
        f"power_sgd({rank}{suffix})",
        dialogue=_compressor.Dialogue((ask_left, ask_right), finish),
        # The next step starts from what is known of Q, which must be the same for all.
        absent=lambda before, after, keys: after,
    )


def _known_columns(state: PowerSgdState) -> jax.Array:
    """Return what is known of Q, ``[b, m, max_rank]``."""
    return state.right.reshape(-1, *state.right.shape[-2:])


@jax.vmap
def _times_columns(matrix: jax.Array, columns: jax.Array) -> jax.Array:
    """Return the products of all; sums neither overflow nor vanish."""
    unit = _scaling.power_unit(matrix)
    product = _scaling.in_units(matrix, unit) @ columns
    return _scaling.scaled_by(product, unit)


@jax.vmap
def _product_of(left: jax.Array, right: jax.Array) -> jax.Array:
    """Return ``left @ right.T`` of all, of which no sum overflows."""
    unit = _scaling.power_unit(right)
    product = left @ _scaling.in_units(right, unit).T
    return _scaling.scaled_by(product, unit)


def _start_columns(right: jax.Array, key: jax.Array) -> jax.Array:
    """Return Q of this step: what is known of it, and the rest drawn."""
    drawn = jax.random.normal(key, right.shape, right.dtype)
    columns = right.swapaxes(1, 2)  # [b, rank, m]
    largest = _tree.largest_magnitude(columns)
    # Only its span matters: in units of its largest element M Q cannot overflow.
    unit = _scaling.in_units(columns, largest)
    usable = jnp.where((largest > 0)[..., None], unit, drawn.swapaxes(1, 2))
    return usable.swapaxes(1, 2)


@jax.vmap
def _orthonormal_columns(matrix: jax.Array) -> jax.Array:
    """Orthonormalise the columns of all; those that depend on earlier ones become zero.

    Gram-Schmidt, twice for every column: once is not orthogonal enough in float32.
    """
    # The unit keeps squares of huge and tiny gradients in range.
    largest = _tree.largest_magnitude(matrix, axis=None)
    matrix = _scaling.in_units(matrix, largest)
    tiny = 10 * jnp.finfo(matrix.dtype).eps

    def step(i, basis):
        column = jax.lax.dynamic_index_in_dim(matrix, i, axis=1, keepdims=False)
        length = jnp.sqrt(jnp.sum(column**2))
        for _ in range(2):
            column = column - basis @ (basis.T @ column)
        rest = jnp.sqrt(jnp.sum(column**2))
        # A comparison with NaN is false, so that what is not finite stays so.
        dependent = rest <= tiny * length
        unit = jnp.where(dependent, 0, column / jnp.where(dependent, 1.0, rest))
        return jax.lax.dynamic_update_index_in_dim(basis, unit, i, axis=1)

    return jax.lax.fori_loop(0, matrix.shape[1], step, jnp.zeros_like(matrix))
