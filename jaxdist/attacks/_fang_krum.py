"""Fang's attack on Krum: as far against the gradient as Krum still selects."""

from typing import Literal

import jax
import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.attacks import _attack, _moments
from jaxdist.geometry import _geometry


def fang_krum(
    knowledge: Literal["full", "partial"] = "full",
    num_halvings: int = 24,
) -> _attack.Attack:
    r"""Send the opposite of the signs, scaled so that Krum chooses an attacker.

    .. math:: g_i \mapsto -\lambda\,\mathrm{sign}(\mu)

    :math:`\lambda` starts at the paper's upper bound and is halved until Krum, which
    knows :math:`f`, selects what the attackers send. Distances are over the whole
    gradient.

    Args:
      knowledge: ``"full"``: the attackers see all updates. ``"partial"``: they see
        those of each other, before they corrupt them. They take these for the honest
        ones, and try with one copy of the crafted vector, then with two, and so on up
        to :math:`f` copies.
      num_halvings: How often :math:`\lambda` is halved at most, at least 0. If Krum
        selects none, the last is sent.

    Returns:
      An attack of workers that collude; all send the same, and nothing is drawn.

    Raises:
      ValueError: If ``knowledge`` is unknown or ``num_halvings`` is negative; when
        applied with full knowledge, if there are more attackers than the (W-3)/2 that
        Krum tolerates; with partial knowledge, if there is only one.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jax.random.normal(jax.random.key(0), (9, 50))
      >>> sent = jaxdist.attacks.fang_krum()(rows, num_byzantine=2)
      >>> print((jaxdist.rules.krum(2)(sent) == sent[8]).all())
      True

    References:
      Fang et al., `Local Model Poisoning Attacks to Byzantine-Robust Federated Learning
      <https://arxiv.org/abs/1911.11815>`_, 2020, Section 4.2, for updates instead of
      models. They stop at a :math:`\lambda` of 1e-5 instead of after a number of
      halvings.
    """
    _checks.one_of("knowledge", knowledge, ("full", "partial"))
    num_halvings = _checks.integer("num_halvings", num_halvings, 0)
    name = f"fang_krum({knowledge!r})"

    def check(num_workers, num_byzantine):
        if knowledge == "full":
            largest = (num_workers - 3) // 2
            _checks.byzantine_count(name, num_byzantine, num_workers, largest)
        elif num_byzantine < 2:
            raise ValueError(
                f"`num_byzantine` must be at least 2 for {name}, whose attackers learn "
                f"from each other, got {num_byzantine}."
            )

    def craft(seen, key):
        del key
        num_byzantine = seen.own.shape[0]
        if knowledge == "full":
            return _crafted_rows(seen.honest, [num_byzantine], num_halvings)
        return _crafted_rows(seen.own, range(1, num_byzantine + 1), num_halvings)

    return _attack.colluding_attack(name, craft, num_honest=0, check=check)


def _crafted_rows(rows, copies, num_halvings):
    """Return the first vector that Krum selects among the rows and some copies of it.

    Args:
      rows: What the attackers take for the honest updates, ``[m, n]``.
      copies: How many copies of the crafted vector to try, in this order.
      num_halvings: How often to halve at most.
    """
    signs = jnp.sign(_moments.mean_row(rows))
    powers = jnp.arange(num_halvings + 1).astype(rows.dtype)
    between = _geometry.Geometry.of(rows).squared_distances

    def is_selected(scale, count):
        to_crafted = jnp.sum((rows + scale * signs[None]) ** 2, axis=1)
        return _krum_selects(between, to_crafted, count)

    def attempt(count):
        scales = _largest_scale(rows, between, count) * 2.0**-powers
        return scales, jax.lax.map(lambda scale: is_selected(scale, count), scales)

    tried, wins = map(jnp.concatenate, zip(*map(attempt, copies), strict=True))
    first = jnp.where(jnp.any(wins), jnp.argmax(wins), wins.size - 1)
    return -tried[first] * signs


def _largest_scale(rows, between, num_copies):
    """Return the paper's upper bound on the scale that Krum can select."""
    num_rows, size = rows.shape
    itself = jnp.eye(num_rows, dtype=bool)
    others = jnp.sort(jnp.where(itself, jnp.inf, jnp.sqrt(between)), axis=1)
    nearest = jnp.sum(others[:, : max(num_rows - 2, 0)], axis=1)
    longest = jnp.sqrt(jnp.max(jnp.sum(rows**2, axis=1)))
    share = jnp.min(nearest) / max(num_rows - num_copies - 1, 1)
    return (share + longest) / max(size, 1) ** 0.5


def _krum_selects(between, to_crafted, num_copies):
    """Whether Krum, told the true number of copies, selects the crafted vector."""
    num_rows = between.shape[0]
    num_neighbours = max(num_rows - 2, 1)
    itself = jnp.eye(num_rows, dtype=bool)
    copies = jnp.repeat(to_crafted[:, None], num_copies, axis=1)
    others = jnp.concatenate([jnp.where(itself, jnp.inf, between), copies], axis=1)
    scores = jnp.sum(jnp.sort(others, axis=1)[:, :num_neighbours], axis=1)
    own = jnp.concatenate(
        [jnp.zeros_like(to_crafted[:1]).repeat(num_copies - 1), to_crafted]
    )
    return jnp.sum(jnp.sort(own)[:num_neighbours]) < jnp.min(scores)
