"""A little is enough: stay within the spread of the honest updates."""

import math
import statistics

from jaxdist import _checks
from jaxdist.attacks import _attack, _moments


def a_little_is_enough(num_deviations: float | None = None) -> _attack.Attack:
    r"""Shift the honest mean by so little that honest workers lie farther out.

    .. math:: g_i \mapsto \mu - z \sigma, \qquad z = \Phi^{-1}\Big(\frac{n-f-s}{n-f}
       \Big), \quad s = \Big\lfloor \frac{n}{2} + 1 \Big\rfloor - f

    :math:`\mu` and :math:`\sigma` are the mean and the standard deviation of the honest
    updates, coordinate by coordinate, and :math:`s` is how many honest workers must
    lie even farther out for the attackers to look like the majority.

    Args:
      num_deviations: :math:`z`, in standard deviations; a negative one shifts the other
        way, which is the sign convention of some code. None takes the formula.

    Returns:
      An attack of workers that collude; all send the same, and nothing is drawn.

    Raises:
      ValueError: If ``num_deviations`` is not finite; when applied, if no worker is
        honest, or if the formula gives no finite positive :math:`z`. This is so
        for few attackers (with 1 or 2 of 10, :math:`z \le 0`: they would send the
        honest mean or help it) and for a majority of attackers, which can do anything.
        Then say which :math:`z` they use; 1.5 is common.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jnp.array([1.0, 3.0, 7.0])
      >>> print(jaxdist.attacks.a_little_is_enough(1.5)(rows, num_byzantine=1))
      [1.  3.  0.5]

    References:
      Baruch et al., `A Little Is Enough: Circumventing Defenses For Distributed
      Learning <https://arxiv.org/abs/1902.06156>`_, 2019, Algorithm 3. The paper's
      attackers estimate the moments from their own data. As in its authors' code
      :math:`\sigma` has the divisor :math:`n-f`; libraries with the divisor
      :math:`n-f-1` shift by a factor :math:`\sqrt{(n-f)/(n-f-1)}` more.
    """
    given = num_deviations
    if given is not None:
        given = _checks.real("num_deviations", given, -math.inf)
    name = "a_little_is_enough" + ("()" if given is None else f"({given})")

    def check(num_workers, num_byzantine):
        if given is None:
            _check_formula(num_workers, num_byzantine)

    def craft(seen, key):
        del key
        num_byzantine, num_honest = seen.own.shape[0], seen.honest.shape[0]
        shift = given
        if shift is None:
            shift = hidden_deviations(num_honest + num_byzantine, num_byzantine)
        mean, deviation = (
            _moments.mean_row(seen.honest),
            _moments.deviation_row(seen.honest),
        )
        return mean - shift * deviation

    return _attack.colluding_attack(name, craft, check=check)


def hidden_deviations(num_workers: int, num_byzantine: int) -> float:
    """Return z of the formula; infinite when the attackers are the majority."""
    num_honest = num_workers - num_byzantine
    num_supporters = num_workers // 2 + 1 - num_byzantine
    share = (num_honest - num_supporters) / num_honest
    if not 0 < share < 1:
        return math.copysign(math.inf, share - 0.5)
    return statistics.NormalDist().inv_cdf(share)


def _check_formula(num_workers, num_byzantine):
    """Raise when the formula tells the attackers to do nothing, or anything at all."""
    shift = hidden_deviations(num_workers, num_byzantine)
    if not 0 < shift < math.inf:
        raise ValueError(
            "`num_deviations` must be given to a_little_is_enough for "
            f"{num_byzantine} attackers among {num_workers} workers, such as 1.5: the "
            f"formula gives {shift:.3g}."
        )
