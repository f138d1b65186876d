"""Gradient sparsification: unbiased, for a density or for a variance budget.

The message is an array of static size. Where the chosen elements do not fit, the best
probabilities that fit take over: what has no room never biases the result silently.
"""

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.compression import _compressor
from jaxdist.compression.numerics import _sampling

_GREEDY_STEPS = 2  # after the first estimate, as in the paper


def gspar(
    density: float | None = None,
    variance: float | None = None,
    *,
    max_density: float | None = None,
    block_size: int = 4096,
) -> _compressor.Compressor:
    r"""Keep elements with chances like their magnitudes, for a density or a variance.

    .. math:: C(x)_i = \frac{x_i}{p_i} \text{ with probability } p_i, \text{ else } 0,
       \qquad p_i = \min(\lambda |x_i|, 1)

    With a ``density``, :math:`\lambda` rises in two greedy steps towards
    :math:`\sum_i p_i = k`. With a ``variance`` it is the least with
    :math:`\sum_i x_i^2 / p_i \le (1 + \epsilon) \|x\|^2`, which needs few elements
    where few are large. The message still has room for ``max_density`` of them. Where
    the variance needs more elements than there is room for, the probabilities become
    those of :func:`atomo` for that room: still unbiased and never truncated, but of a
    larger variance.

    Args:
      density: Kept share of the elements in (0, 1], no unit; at least one is kept.
        Give either this or ``variance``.
      variance: :math:`\epsilon > 0`, no unit; the squared error over the squared norm.
      max_density: With ``variance``, the share of the elements for which there is room,
        in (0, 1]; None is :math:`1/(1+\epsilon)`, which is always enough.
      block_size: Most elements that share :math:`\lambda`, at most 65 536. A leaf is
        cut into equal blocks of at most this size.

    Returns:
      An unbiased compressor without state. With :math:`k` the elements for which there
      is room, :math:`\omega = d/k - 1` in each block (plus rounding, as in
      :func:`atomo`); with a ``variance``, the larger of this and :math:`\epsilon`.
      Workers draw independently. NaN and infinities are drawn like the largest finite
      element. In float16, a value above 65 504 after scaling becomes 65 504.

    Raises:
      ValueError: If not exactly one of ``density`` and ``variance`` is given, if
        ``max_density`` is given with ``density``, or if one is out of its range.

    Communication:
      Payload of :math:`k` elements in the dtype of the leaf and :math:`k` indices
      within the block: 8 bits each up to 256 elements, 12 up to 4096, else 16.

    Example:
      >>> c = jaxdist.compression.gspar(variance=0.5)
      >>> sent, _ = jaxdist.roundtrip(c, jnp.array([4.0, 0, 0]), jax.random.key(0))
      >>> print(sent)
      [4. 0. 0.]

    References:
      Wangni et al., `Gradient Sparsification for Communication-Efficient Distributed
      Optimization <https://arxiv.org/abs/1710.09854>`_, 2018, Algorithms 2 and 3. There
      elements are drawn independently, and their number varies. Above a density of 3/4
      the greedy steps go on to the end: two could be worse than uniform sampling.
    """
    if density is not None and variance is None:
        return _for_density(density, max_density, block_size)
    if variance is not None and density is None:
        return _for_variance(variance, max_density, block_size)
    raise ValueError(
        "Exactly one of `density` and `variance` must be given, "
        f"got {density!r} and {variance!r}."
    )


def _for_density(density, max_density, block_size):
    """Return the compressor for a density."""
    density = _checks.real("density", density, 0.0, 1.0, above=True, static=True)
    if max_density is not None:
        raise ValueError(
            "`max_density` must be None when `density` is given, which is the room "
            f"itself, got {max_density!r}."
        )

    def level(sizes, sampler):
        # Up to 3/4 the first estimate already beats uniform sampling: with c of n
        # elements at 1 that sum to B, and the others to A, the difference is at least
        # c/(n-c) A^2 - AB + (n-s)/c B^2, which is positive for 4(n-s) > n-c.
        if 4 * sampler.capacity > 3 * sampler.length:
            return _sampling.water_level(sizes, sampler.budget)
        return _sampling.greedy_level(sizes, sampler.budget, _GREEDY_STEPS)

    return _sampling.sampled_compressor(f"gspar({density})", density, block_size, level)


def _for_variance(variance, max_density, block_size):
    """Return the compressor for a variance."""
    variance = _checks.real("variance", variance, 0.0, above=True, static=True)
    room = 1.0 / (1.0 + variance) if max_density is None else max_density
    room = _checks.real("max_density", room, 0.0, 1.0, above=True, static=True)

    def level(sizes, sampler):
        # The paper's, raised by what its float32 sums may be wrong by.
        wanted = variance_level(sizes, variance) * (1 + (sampler.length + 8) * 2**-22)
        return jnp.minimum(wanted, _sampling.water_level(sizes, sampler.budget))

    name = f"gspar(variance={variance}, max_density={room:.4g}, {block_size})"
    return _sampling.sampled_compressor(name, room, block_size, level, variance)


def variance_level(sizes: jax.Array, variance: float) -> jax.Array:
    r"""Return the least :math:`\lambda` that keeps the variance.

    Newton's method for :math:`\sum_i \max(a_i/\lambda - a_i^2, 0) = \epsilon\|a\|^2`,
    convex in :math:`1/\lambda`: it rises from below and ends at the closed form.

    Args:
      sizes: :math:`a` in [0, 1], ``[..., length]``.
      variance: :math:`\epsilon`.

    Returns:
      ``[...]``.
    """
    allowed = variance * jnp.sum(sizes**2, axis=-1)

    def newton(level):
        def rest(level):
            return sizes - sizes * _sampling.full_elements(sizes, level)

        first = jnp.sum(rest(level), axis=-1)
        second = jnp.sum(rest(_sampling.level_after(level, first)) ** 2, axis=-1)
        count = jnp.sum(
            _sampling.full_elements(sizes, _sampling.level_after(level, second)),
            axis=-1,
        )
        return _sampling.raised_level(level, first, allowed + second), count

    return _sampling.settled_level(newton, sizes)
