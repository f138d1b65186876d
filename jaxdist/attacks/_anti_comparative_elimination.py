"""Anti comparative elimination: vectors as long as the rule lets pass."""

import jax.numpy as jnp

from jaxdist import _checks
from jaxdist.attacks import _attack

_JUST_BELOW = 1 - 1e-5  # well above the rounding of a norm, and of its square


def anti_comparative_elimination() -> _attack.Attack:
    r"""Send the opposite of the shortest honest updates, just short enough to be kept.

    .. math:: g_i \mapsto -\|g_{(n-2f+1)}\| \, \frac{s}{\|s\|}, \qquad
       s = \sum_{k=1}^{n-2f} g_{(k)}

    Comparative gradient elimination (CGE) keeps the :math:`n-f` shortest of :math:`n`
    vectors. With :math:`g_{(k)}` the honest updates by ascending norm, it keeps all
    vectors of the attackers, and :math:`s` is the sum of the honest ones that it keeps.

    Returns:
      An attack of workers that collude; all send the same, and nothing is drawn.

    Raises:
      ValueError: When applied, unless fewer than half of the workers attack.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jnp.array([1.0, 2.0, 3.0, 7.0])
      >>> print(
      ...     jaxdist.attacks.anti_comparative_elimination()(rows, num_byzantine=1)[3]
      ... )
      -2.99997

    References:
      Farhadkhani et al., `Byzantine Machine Learning Made Easy by Resilient Averaging
      of Momentums <https://arxiv.org/abs/2205.12173>`_, 2022; their code has it (and
      counts the shortest twice). It attacks Gupta et al., `Byzantine Fault-Tolerant
      Distributed Machine Learning using Norm-Based Comparative Gradient Elimination
      <https://arxiv.org/abs/2008.04699>`_, 2021.
    """
    name = "anti_comparative_elimination()"

    def check(num_workers, num_byzantine):
        largest = (num_workers - 1) // 2
        _checks.byzantine_count(name, num_byzantine, num_workers, largest)

    def craft(seen, key):
        del key
        num_kept = seen.honest.shape[0] - seen.own.shape[0]
        norms = jnp.linalg.norm(seen.honest, axis=1)
        order = jnp.argsort(norms)
        kept = jnp.isin(jnp.arange(norms.size), order[:num_kept])
        left = jnp.matmul(
            kept.astype(seen.honest.dtype), seen.honest, precision="highest"
        )
        length = jnp.linalg.norm(left)
        allowed = _JUST_BELOW * norms[order[num_kept]]
        return -allowed / jnp.where(length > 0, length, 1) * left

    return _attack.colluding_attack(name, craft, check=check)
