"""Inner product manipulation: turn the aggregate against the descent direction."""

from jaxdist import _checks
from jaxdist.attacks import _attack, _moments


def inner_product_manipulation(scale: float = 0.1) -> _attack.Attack:
    r"""Send the opposite of the honest mean, shrunk so that it does not stand out.

    .. math:: g_i \mapsto -\varepsilon \mu

    A small :math:`\varepsilon` fools rules that select by distance, such as
    :func:`jaxdist.rules.krum`, when the honest updates spread widely; the plain mean
    changes its sign beyond :math:`\varepsilon = (n-f)/f`.

    Args:
      scale: :math:`\varepsilon`, positive factor, no unit.

    Returns:
      An attack of workers that collude; all send the same, and nothing is drawn.

    Raises:
      ValueError: If ``scale`` is not positive; when applied, if no worker is honest.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jnp.array([1.0, 3.0, 7.0])
      >>> print(jaxdist.attacks.inner_product_manipulation(0.5)(rows, num_byzantine=1))
      [ 1.  3. -1.]

    References:
      Xie et al., `Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product
      Manipulation <https://arxiv.org/abs/1903.03936>`_, 2019. The largest scale that
      still works depends on the rule: see :func:`optimal_inner_product_manipulation`.
    """
    scale = _checks.real("scale", scale, 0.0, above=True)

    def craft(seen, key):
        del key
        return -scale * _moments.mean_row(seen.honest)

    return _attack.colluding_attack(f"inner_product_manipulation({scale})", craft)
