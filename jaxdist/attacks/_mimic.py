"""Mimic: copy one honest worker, and so give it more weight than the others."""

from jaxdist import _checks
from jaxdist.attacks import _attack


def mimic(worker_index: int = 0) -> _attack.Attack:
    r"""Send what one honest worker sends.

    .. math:: g_i \mapsto g_j

    Nothing that is sent is wrong, so no rule can detect it; where the workers' data
    differ, the model learns too much of one of them.

    Args:
      worker_index: :math:`j`, the honest worker that is copied, in [0, W-f).

    Returns:
      An attack of workers that collude; all send the same, and nothing is drawn.

    Raises:
      ValueError: If ``worker_index`` is negative; when applied, if that worker is not
        honest.

    Communication:
      That of attackers that collude, see :func:`jaxdist.inject_attack`.

    Example:
      >>> rows = jnp.array([1.0, 3.0, 7.0])
      >>> print(jaxdist.attacks.mimic(worker_index=1)(rows, num_byzantine=1))
      [1. 3. 3.]

    References:
      Karimireddy et al., `Byzantine-Robust Learning on Heterogeneous Datasets via
      Bucketing <https://arxiv.org/abs/2006.09365>`_, 2022. :func:`learned_mimic` finds
      the worker.
    """
    worker_index = _checks.integer("worker_index", worker_index, 0)

    def check(num_workers, num_byzantine):
        num_honest = num_workers - num_byzantine
        _checks.integer("worker_index", worker_index, 0, num_honest - 1)

    def craft(seen, key):
        del key
        return seen.honest[worker_index]

    return _attack.colluding_attack(f"mimic({worker_index})", craft, check=check)
