"""Search: the shift of the honest mean that harms a rule most.

The damage of an attack on a rule that selects grows up to an edge, and drops there.
Golden-section search in the cells next to the best of a grid reached as little as 0.74
of the damage of a dense grid on Krum: the edge can lie in a cell whose ends are both
worse. So a cell is rated by the line through the two shifts before it, and the best
four cells are halved at a time.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdist import _checks
from jaxdist.attacks import _attack, _damage, _moments
from jaxdist.rules import _rule

_AT_ONCE = 4  # shifts tried together
_SMALLEST = 1e-3  # smallest shift that is tried, as a share of the largest
_EQUAL = 1 - 1e-6  # shifts that harm by this share of the most harm as much


def optimal_attack(name, rule, direction, limit, num_magnitudes, num_refinements):
    """Return the attack that searches along ``direction(honest)``; check arguments."""
    _checks.instance(
        "rule", rule, _rule.AggregationRule, "jaxdist.rules.trimmed_mean(2)"
    )
    limit = _checks.real("limit", limit, 0.0, above=True)
    num_magnitudes = _checks.integer("num_magnitudes", num_magnitudes, 2)
    num_refinements = _checks.integer("num_refinements", num_refinements, 0)

    def check(num_workers, num_byzantine):
        del num_byzantine
        rule.check(num_workers)

    def craft(seen, key):
        mean, along = _moments.mean_row(seen.honest), direction(seen.honest)
        num_byzantine = seen.own.shape[0]
        damage = _damage.shift_damages(rule, key, seen.honest, along, num_byzantine)
        grid = signed_grid(limit, num_magnitudes).astype(mean.dtype)
        candidates = jnp.zeros_like(mean, shape=grid.shape) + grid
        return mean + worst_shift(damage, candidates, num_refinements) * along

    return _attack.colluding_attack(
        f"{name}({rule.name})", craft, check=check, draws=rule.draws
    )


def signed_grid(limit: float, num_magnitudes: int) -> np.ndarray:
    """Return shifts of either sign, spaced evenly in their logarithm, and zero."""
    magnitudes = limit * np.geomspace(_SMALLEST, 1, num_magnitudes)
    return np.concatenate([-magnitudes[::-1], [0.0], magnitudes])


def worst_shift(damage, candidates, num_refinements: int) -> jax.Array:
    """Return the shift with most damage; of those that are equal the smallest.

    The damage may jump: a rule that selects drops all attackers at once, and the damage
    is largest just before. So the cell between two neighbouring shifts is tried whose
    line through the two shifts before it, continued to its other end, promises most.

    Args:
      damage: ``(shift) -> damage``.
      candidates: Ascending shifts, all of which are tried.
      num_refinements: How often the most promising cells are halved.
    """
    harms = jax.lax.map(damage, candidates, batch_size=_AT_ONCE)
    # Copies of the last shift keep the places of those that are yet to be tried.
    room = (0, _AT_ONCE * num_refinements)
    tried = [jnp.pad(array, room, mode="edge") for array in (candidates, harms)]

    def refine(i, tried):
        del i
        shifts, harms = tried
        _, cells = jax.lax.top_k(_promised_damage(shifts, harms), _AT_ONCE)
        middles = (shifts[cells] + shifts[cells + 1]) / 2
        shifts = jnp.concatenate([shifts[:-_AT_ONCE], middles])
        harms = jnp.concatenate([harms[:-_AT_ONCE], jax.vmap(damage)(middles)])
        order = jnp.argsort(shifts)
        return [shifts[order], harms[order]]

    shifts, harms = jax.lax.fori_loop(0, num_refinements, refine, tried)
    among_worst = harms >= _EQUAL * jnp.max(harms)
    # Of two that are opposite the positive one is smaller.
    size = jnp.where(shifts < 0, -shifts / _EQUAL, shifts)
    return shifts[jnp.argmin(jnp.where(among_worst, size, jnp.inf))]


def _promised_damage(shifts, harms):
    """Return what each cell between neighbours promises at most."""
    width = jnp.diff(shifts)
    slope = jnp.diff(harms) / jnp.where(width > 0, width, jnp.inf)
    flat = jnp.zeros_like(slope[:1])
    rising = jnp.maximum(jnp.concatenate([flat, slope[:-1]]), 0)
    falling = jnp.maximum(jnp.concatenate([-slope[1:], flat]), 0)
    return jnp.maximum(harms[:-1] + rising * width, harms[1:] + falling * width)
