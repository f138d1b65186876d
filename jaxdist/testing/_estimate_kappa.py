"""Estimate kappa: search for the inputs on which a rule does worst."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.rules import _rule

_LARGEST = 3.0  # decimal orders of magnitude between spread, offset and attack
_ROUNDINGS = 8  # of the longest honest gradient


class KappaEstimate(NamedTuple):
    """What :func:`estimate_kappa` found."""

    kappa: float
    """The largest ratio found: a lower bound of the true constant."""
    rows: jax.Array
    """Where, ``[W, size]``; the Byzantine workers are the last."""


def estimate_kappa(
    rule: _rule.AggregationRule,
    num_workers: int,
    num_byzantine: int,
    *,
    size: int = 3,
    num_starts: int = 256,
    num_steps: int = 300,
    key: int = 0,
) -> KappaEstimate:
    r"""Search for the worst error of a rule compared with the honest spread.

    .. math:: \max_x \frac{\|F(x) - \bar{x}_S\|^2}
       {\frac{1}{|S|}\sum_{i \in S} \|x_i - \bar{x}_S\|^2}

    with :math:`S` the first :math:`W - f` workers. Honest workers and attackers are
    both free. Each start draws spread, common offset and attack over several orders of
    magnitude; then every step perturbs some of its rows, and keeps what is worse.

    Args:
      rule: The rule, without an anchor.
      num_workers: W.
      num_byzantine: f, attackers, below W/2; may exceed what the rule promises.
      size: Coordinates of each worker.
      num_starts: Searches that run side by side.
      num_steps: Perturbations that each tries.
      key: Seed of the search.

    Returns:
      The worst ratio, and where it was found. A constant that is proved is never
      exceeded; a rule that is not robust shows ratios that grow without bound.

    Raises:
      TypeError: If ``rule`` is none.
      ValueError: If a number is out of range, or the rule needs an anchor.

    Communication:
      None.

    Example:
      >>> import jaxdist.testing
      >>> rule = jaxdist.rules.trimmed_mean(2)
      >>> found = jaxdist.testing.estimate_kappa(rule, 11, 2)
      >>> print(round(found.kappa, 2), round(rule.contract.robustness(11, 2), 2))
      0.29 0.29

    References:
      Allouah et al., `Fixing by Mixing <https://arxiv.org/abs/2302.01772>`_, 2023,
      Definition 2: every rule has at least :math:`f / (W - 2f)`.
    """
    _checks.instance("rule", rule, _rule.AggregationRule, "jaxdist.rules.median()")
    num_workers = _checks.integer("num_workers", num_workers, 1)
    largest = (num_workers - 1) // 2
    f = _checks.integer("num_byzantine", num_byzantine, 0, largest)
    size = _checks.integer("size", size, 1)
    num_starts = _checks.integer("num_starts", num_starts, 1)
    num_steps = _checks.integer("num_steps", num_steps, 0)
    key = _checks.integer("key", key, 0)
    if isinstance(rule.anchor, str):
        raise ValueError(f"`rule` {rule.name} compares with an anchor: kappa has none.")
    num_honest = num_workers - f

    def ratio(rows):
        return error_ratio(rule, rows, num_honest)

    def search(key):
        start, climb = jax.random.split(key)
        rows = _start_rows(start, num_workers, num_honest, size)
        return _climb_ratio(ratio, rows, jax.random.split(climb, num_steps))

    keys = jax.random.split(jax.random.key(key), num_starts)
    ratios, rows = jax.jit(jax.vmap(search))(keys)
    worst = jnp.argmax(ratios)
    return KappaEstimate(float(ratios[worst]), rows[worst])


def error_ratio(rule, rows, num_honest):
    """Return the squared error compared with the spread of the honest."""
    honest = rows[:num_honest]
    mean = jnp.mean(honest, axis=0)
    spread = jnp.mean(jnp.sum((honest - mean[None]) ** 2, axis=1))
    longest = jnp.max(jnp.linalg.norm(honest, axis=1))
    # What rounding explains is no error; where it is all the spread, a ratio is void.
    rounding = _ROUNDINGS * jnp.finfo(rows.dtype).eps * longest
    error = jnp.maximum(jnp.linalg.norm(rule(rows) - mean) - rounding, 0) ** 2
    is_spread = spread > 1e-9 * longest**2
    return jnp.where(is_spread, error / jnp.maximum(spread, 1e-30), 0)


def _start_rows(key, num_workers, num_honest, size):
    """Draw honest workers around a common offset, and attackers near or far."""
    keys = jax.random.split(key, 6)
    scales = 10 ** jax.random.uniform(keys[0], (2,), minval=-1, maxval=_LARGEST)
    rows = jax.random.normal(keys[1], (num_workers, size))
    # Half of the starts have clusters, which are worse than clouds for many rules.
    crowd = jax.random.bernoulli(keys[2], 0.3, (num_workers, 1)).astype(rows.dtype)
    rows = jnp.where(jax.random.bernoulli(keys[3]), crowd * rows[:1], rows)
    direction = jax.random.normal(keys[4], (2, size))
    is_byzantine = (jnp.arange(num_workers) >= num_honest)[:, None]
    attack = jnp.where(is_byzantine, scales[0] * direction[:1], 0)
    offset = jnp.where(jax.random.bernoulli(keys[5]), scales[1] * direction[1:], 0)
    return rows + attack + offset


def _climb_ratio(ratio, rows, keys):
    """Perturb some rows again and again, and keep what is worse."""

    def step(best, key):
        keys = jax.random.split(key, 3)
        length = 10 ** jax.random.uniform(keys[0], minval=-2, maxval=_LARGEST - 1)
        moved = jax.random.bernoulli(keys[1], 0.3, (rows.shape[0], 1))
        noise = length * jax.random.normal(keys[2], rows.shape)
        changed = best[1] + jnp.where(moved, noise, 0)
        found = ratio(changed)
        worse = found > best[0]
        return (
            jnp.where(worse, found, best[0]),
            jnp.where(worse, changed, best[1]),
        ), None

    best, _ = jax.lax.scan(step, (ratio(rows), rows), keys)
    return best
