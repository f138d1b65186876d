"""Centered clipping: go from the previous result towards all, each within a radius."""

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.geometry import _geometry, _radii
from jaxdist.rules import _rule
from jaxdist.rules.numerics import _far


def centered_clipping(radius: float, iterations: int = 1) -> _rule.AggregationRule:
    r"""Clip what each worker adds to the previous result, and average.

    .. math:: v \leftarrow v + \frac{1}{W} \sum_i (x_i - v)
       \min\Bigl(1, \frac{\tau}{\|x_i - v\|}\Bigr), \qquad F = v

    :math:`v` starts at the previous result, which :func:`jaxdist.aggregate` keeps in
    its state (on stacked gradients it is the ``anchor`` of the call; 0 at first). One
    worker moves the result by at most :math:`\tau / W` in each iteration. A worker that
    is not finite does not move it. A worker that is :math:`1/\sqrt{\epsilon}` times
    (3000 times in float32) farther away than :math:`\tau` and most workers moves it in
    the first iteration only. Later distances are measured as if that worker had not
    moved it: rounding of its distance would hide the other distances.

    Args:
      radius: :math:`\tau > 0`, in the unit of the gradients: about the norm of
        the noise in an honest gradient.
      iterations: At least 1.

    Returns:
      A rule that tolerates fewer than W/2 Byzantine workers, in the sense above. It is
      equivariant to rotation; to translation only if the previous result moves, too.

    Raises:
      ValueError: If ``radius`` is not positive or ``iterations`` less than 1.

    Communication:
      On the scatter route an all-reduce of 2W + 1 floats, for norms and distances from
      the previous result; of :math:`(W + 1)^2` for more than one iteration.

    Example:
      >>> rule = jaxdist.rules.centered_clipping(radius=2.0)
      >>> rows = jnp.array([[1.0], [1.0], [900.0]])
      >>> print(rule(rows, anchor=jnp.array([1.0])).round(3))
      [1.667]

    References:
      Karimireddy et al., `Learning from History for Byzantine Robust Optimization
      <https://arxiv.org/abs/2012.10333>`_, 2021, Algorithm 2.
    """
    radius = _checks.real("radius", radius, 0, above=True)
    iterations = _checks.integer("iterations", iterations, 1)

    def mix_once(radii, key, memory):
        del key
        usable = radii.or_inf(radii.squared_distances)
        number = radii.num_present(usable.size, usable.dtype)
        share = _clipping_shares(usable, jnp.isfinite(usable), radius) / number
        rest = jnp.where(radii.finite[-1], 1 - jnp.sum(share), 0)
        return jnp.append(share, rest)[None], memory

    def mix(geometry, key, memory):
        del key
        distances = geometry.squared_distances
        usable = jnp.isfinite(distances[-1])
        both = usable[:, None] & usable[None]
        distances = jnp.where(both, distances, 0)
        near = usable & _is_near(distances[-1], usable, radius)
        number = geometry.num_present(usable.size - 1, distances.dtype)

        def step(turn, weights):
            # Of workers and previous result, with sum 1.
            nearby = jnp.where(near, weights, 0)
            nearby = nearby.at[-1].add(jnp.sum(weights) - jnp.sum(nearby))
            product = jnp.matmul(distances, nearby, precision="highest")
            squared = jnp.maximum(product - jnp.sum(nearby * product) / 2, 0)
            squared = jnp.where(turn == 0, distances[-1], squared)
            counted = jnp.where(turn == 0, usable, near)
            share = _clipping_shares(squared[:-1], counted[:-1], radius) / number
            return weights * (1 - jnp.sum(share)) + jnp.append(share, 0)

        weights = jnp.zeros_like(distances[-1]).at[-1].set(1)
        weights = jax.lax.fori_loop(0, iterations, step, weights)
        return jnp.where(usable, weights, 0)[None], memory

    contract = _rule.RuleContract(
        lambda num_workers: (num_workers - 1) // 2,
        translation_equivariant=False,
        scale_equivariant=False,
        knows_absent=True,
    )
    return _rule.AggregationRule(
        f"centered_clipping({radius}, {iterations})",
        mix=mix_once if iterations == 1 else mix,
        sees=_radii.Radii if iterations == 1 else _geometry.Geometry,
        contract=contract,
        anchor="previous",
    )


def _clipping_shares(squared, counted, radius):
    """Return how far to go towards each of the workers, ``[W]``, times W."""
    away = jnp.maximum(jnp.sqrt(squared), radius)
    return jnp.where(counted, radius / away, 0)


def _is_near(from_previous, usable, radius):
    """Whether a distance does not hide those of most workers, bool ``[W + 1]``."""
    ordered = jnp.sort(jnp.where(usable, from_previous, jnp.inf))
    typical = ordered[jnp.sum(usable) // 2]
    reach = _far.crowd_reach(from_previous.dtype)
    return from_previous <= reach**2 * jnp.maximum(typical, radius**2)
