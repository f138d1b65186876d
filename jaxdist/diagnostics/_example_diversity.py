"""Example diversity: how different the gradients of single examples are."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks, _tree


class ExampleDiversity(NamedTuple):
    """What :func:`example_diversity` found in n examples."""

    squares: jax.Array  # float32 or wider, (): sum of the squared norms
    square_of_sum: jax.Array  # likewise: squared norm of the sum
    num_examples: int  # n

    @property
    def diversity(self) -> jax.Array:
        """At least 1/n; inf where the gradients add up to nothing."""
        ratio = self.squares / self.square_of_sum
        # What is left of a sum that is zero is rounding.
        number = jnp.asarray(self.num_examples, ratio.dtype)
        rounding = number * float(jnp.finfo(ratio.dtype).eps) ** 2
        known = self.square_of_sum > rounding * self.squares
        return jnp.where(known, ratio, jnp.inf)

    @property
    def batch_bound(self) -> jax.Array:
        """Up to which batch size a step is worth as many examples; Definition 5."""
        return jnp.asarray(self.num_examples, self.squares.dtype) * self.diversity


def example_diversity(
    loss: Callable[[Any, Any], Any], params: Any, batch: Any, block_size: int = 16
) -> ExampleDiversity:
    r"""Measure the diversity of the gradients of the examples of a batch.

    .. math:: \Delta = \frac{\sum_i \|g_i\|^2}{\|\sum_i g_i\|^2}, \qquad
       g_i = \nabla f_i(w), \qquad B = n \Delta

    Up to the batch size B of the whole data set, a step on a batch is worth about as
    many steps on single examples. The memory is that of ``block_size`` gradients, not
    of n. Run it now and then, in a program of its own;
    :func:`jaxdist.measure_diversity` measures in every step, and only what is in the
    workers' gradients already.

    Args:
      loss: ``loss(params, batch)`` of a batch, as recipes take it, a mean over its
        examples; it is called with batches of one example. What else it returns
        (``has_aux``) is not looked at.
      params: Tree of floating-point arrays.
      batch: Tree of arrays ``[n, ...]``.
      block_size: Gradients that are there at once, at least 1.

    Returns:
      Both sums, from which come ``diversity`` and ``batch_bound``. Padding of the last
      block is left out.

    Raises:
      ValueError: If ``block_size`` is below 1, or if the leaves of ``batch`` are not
        of the same number of examples, at least one.
      TypeError: If ``loss`` cannot be called, or ``params`` are not floating-point.

    Communication:
      None.

    Example:
      >>> def loss(weights, batch):
      ...     return jnp.mean((batch @ weights) ** 2) / 2
      >>> found = jaxdist.diagnostics.example_diversity(
      ...     loss, jnp.ones(2), jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
      ... )
      >>> print(f"{found.diversity:.3f} {found.batch_bound:.3f}")
      0.600 1.800

    References:
      Yin et al., `Gradient Diversity: a Key Ingredient for Scalable Distributed
      Learning <https://arxiv.org/abs/1706.05699>`_, 2018, Definitions 4 and 5.
    """
    _checks.function("loss", loss, "loss(params, batch)")
    block_size = _checks.integer("block_size", block_size, 1)
    _tree.check_arrays("params", params)
    _tree.check_floats("params", params)
    num_examples = _number_of_examples(batch)
    blocks = -(-num_examples // block_size)
    places = jnp.arange(blocks * block_size).reshape(blocks, block_size)

    def gradient_of(place):
        one = jax.tree.map(lambda leaf: leaf[place % num_examples][None], batch)
        gradient = jax.grad(lambda p: _only_loss(loss(p, one)))(params)
        return jax.tree.map(
            lambda leaf: jnp.where(place < num_examples, _tree.widened(leaf), 0),
            gradient,
        )

    def add_block(sums, block):
        squares, total = sums
        gradients = jax.vmap(gradient_of)(block)
        squares += _square(gradients).astype(squares.dtype)
        return (squares, _added(total, gradients)), None

    dtype = _tree.accumulator_dtype(*(x.dtype for x in jax.tree.leaves(params)))
    dtype = jnp.finfo(dtype).dtype  # of the real part
    start = jnp.zeros((), dtype), jax.tree.map(_tree.wide_zeros, params)
    (squares, total), _ = jax.lax.scan(add_block, start, places)
    return ExampleDiversity(squares, _square(total).astype(dtype), num_examples)


def _only_loss(value):
    return value[0] if isinstance(value, tuple) else value


def _number_of_examples(batch: Any) -> int:
    """Return n, or raise where it is not one number."""
    _tree.check_arrays("batch", batch)
    numbers = sorted({leaf.shape[:1] for leaf in jax.tree.leaves(batch)})
    if len(numbers) != 1 or numbers[0] in ((), (0,)):
        raise ValueError(
            "`batch` must hold arrays [n, ...] of the same number of examples, at "
            f"least one, got first axes of {[n[0] if n else None for n in numbers]}."
        )
    return numbers[0][0]


def _added(total: Any, gradients: Any) -> Any:
    """Add gradients ``[block, ...]`` to their sum."""
    return jax.tree.map(lambda t, g: t + jnp.sum(g, axis=0), total, gradients)


def _square(tree: Any) -> jax.Array:
    """Return the sum of the squares of all elements."""
    squares = [jnp.sum(jnp.square(jnp.abs(leaf))) for leaf in jax.tree.leaves(tree)]
    dtype = _tree.accumulator_dtype(*(square.dtype for square in squares))
    return sum((square.astype(dtype) for square in squares), jnp.zeros((), dtype))
