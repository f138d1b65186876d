"""Mean: the average of all workers."""

from jaxdist import _collectives, _rule


def mean() -> _rule.AggregationRule:
    r"""Average the contributions.

    .. math:: F(x_1, \dots, x_W) = \frac{1}{W} \sum_i x_i

    Returns:
      A linear rule. It tolerates no Byzantine worker: one NaN makes the result NaN.

    Communication:
      The only rule for which payloads may be summed on their way (route psum).

    Example:
      >>> print(jaxdist.mean()(jnp.array([[1.0], [3.0]])))
      [2.]
    """
    return _rule.AggregationRule("mean()", _mean, linear=True)


def _mean(rows):
    return _collectives.sum_rows(rows) / rows.shape[0]
