"""Sign flip: send the opposite."""

from typing import Literal

import jax

from jaxdist import _checks, _tree
from jaxdist.attacks import _attack, _moments


def sign_flip(
    scale: float = 1.0,
    of: Literal["own", "mean", "sum"] = "own",
) -> _attack.Attack:
    r"""Send the opposite of the own updates, of the honest mean, or of the honest sum.

    .. math:: \text{own: } -c\,g_i, \qquad \text{mean: } -c\,\mu, \qquad
       \text{sum: } -c\,\frac{n-f}{f}\,\mu

    Args:
      scale: :math:`c`, positive factor, no unit.
      of: ``"own"``, ``"mean"`` (:math:`\mu`, of the honest workers), or ``"sum"``: the
        attackers share the opposite of what all honest workers send together, so that
        with a ``scale`` of 1 the mean over all workers is exactly zero.

    Returns:
      An attack that keeps structure, shapes and dtypes, and draws nothing. With
      ``"own"`` workers know nothing but their own updates; otherwise they collude.

    Raises:
      ValueError: If ``scale`` is not positive or ``of`` is unknown; when applied with
        ``"mean"`` or ``"sum"``, if no worker is honest.

    Communication:
      With ``"own"`` none; otherwise that of attackers that collude, see
      :func:`jaxdist.inject_attack`.

    Example:
      >>> print(jaxdist.attacks.sign_flip(10.0)(jnp.array([1.0, 2.0]), num_byzantine=1))
      [  1. -20.]
      >>> rows = jnp.array([1.0, 2.0, 5.0])
      >>> print(jaxdist.attacks.sign_flip(of="sum")(rows, num_byzantine=1))
      [ 1.  2. -3.]

    References:
      Li et al., `RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed
      Learning from Heterogeneous Datasets <https://arxiv.org/abs/1811.03761>`_, 2019.
    """
    scale = _checks.real("scale", scale, 0.0, above=True)
    _checks.one_of("of", of, ("own", "mean", "sum"))
    if of == "own":
        return _attack.Attack(_opposite_rows(scale), f"sign_flip({scale})")

    def craft(seen, key):
        del key
        if of == "mean":
            return -scale * _moments.mean_row(seen.honest)
        return -scale / seen.own.shape[0] * _tree.sum_rows(seen.honest)

    return _attack.colluding_attack(f"sign_flip({scale}, {of!r})", craft)


def _opposite_rows(scale):
    """Return what a single worker makes of its own updates."""

    def corrupt(updates, key):
        del key
        return jax.tree.map(lambda leaf: -scale * leaf, updates)

    return corrupt
