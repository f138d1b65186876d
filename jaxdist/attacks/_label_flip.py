"""Label flip: honest training on wrong labels."""

import jax
import jax.numpy as jnp

from jaxdist import _checks


def label_flip(
    labels: jax.Array, num_classes: int, num_workers: int = 1, num_byzantine: int = 1
) -> jax.Array:
    r"""Mirror the labels of the Byzantine workers: the first class becomes the last.

    .. math:: y \mapsto C - 1 - y

    The attackers then send the true gradients of wrong data, so nothing is to be
    injected: flip the labels of a batch before it is split among the workers, as
    :func:`jaxdist.simulate` and :func:`jaxdist.data_parallel` do.

    Args:
      labels: Integers in [0, C), of any shape; others, such as a padding of -1, stay.
      num_classes: :math:`C`, at least 2.
      num_workers: W, the number of equal runs in which the leading axis is split; by
        default all labels are those of one worker.
      num_byzantine: Workers whose labels are flipped, those of the last runs, in
        [0, W].

    Returns:
      Labels of the same shape and dtype.

    Raises:
      TypeError: If the labels are no integers.
      ValueError: If a number is out of range, or if W does not divide the leading axis.

    Communication:
      None.

    Example:
      >>> print(jaxdist.attacks.label_flip(jnp.array([0, 1, 9]), num_classes=10))
      [9 8 0]
      >>> print(
      ...     jaxdist.attacks.label_flip(
      ...         jnp.array([0, 1, 2, 3]), 10, 2, num_byzantine=1
      ...     )
      ... )
      [0 1 7 6]

    References:
      Tolpegin et al., `Data Poisoning Attacks Against Federated Learning Systems
      <https://arxiv.org/abs/2007.08432>`_, 2020. They exchange two chosen classes; all
      classes are mirrored in Allen-Zhu et al., `Byzantine-Resilient Non-Convex
      Stochastic Gradient Descent <https://arxiv.org/abs/2012.14368>`_, 2020.
    """
    labels = _checks.array("labels", labels)
    num_classes = _checks.integer("num_classes", num_classes, 2)
    num_workers = _checks.integer("num_workers", num_workers, 1)
    num_byzantine = _checks.integer("num_byzantine", num_byzantine, 0, num_workers)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"`labels` must be integers, got {labels.dtype}.")
    is_label = (labels >= 0) & (labels < num_classes)
    flipped = jnp.where(is_label, num_classes - 1 - labels, labels)
    if num_byzantine == num_workers:
        return flipped
    num_honest = _run_length(labels, num_workers) * (num_workers - num_byzantine)
    return jnp.concatenate([labels[:num_honest], flipped[num_honest:]])


def _run_length(labels, num_workers):
    """Return how many entries of the leading axis each worker gets."""
    if not labels.ndim or labels.shape[0] % num_workers:
        raise ValueError(
            f"`labels` must have a leading axis that {num_workers} workers divide, "
            f"got shape {labels.shape}."
        )
    return labels.shape[0] // num_workers
