"""Buckets: several messages instead of one, so that the first need not wait for all.

The backward pass makes the gradients of the last layers first. One message of all
leaves waits for the first layer; a message of the last layers can travel while the pass
goes on. Each message begins when the one before it has arrived: side by side they would
share the link, and XLA would join them to one again.
"""

from collections.abc import Sequence
from typing import Any

import jax

from jaxdist import _tree


def bucket_numbers(
    names: Sequence[str], nbytes: Sequence[float], num_buckets: int
) -> list[int]:
    """Return the bucket of each leaf: of about as many bytes, the last leaves first.

    Args:
      names: Of the leaves; of those that differ in a number the largest is the last.
      nbytes: That each leaf sends.
      num_buckets: How many buckets there are at most.
    """
    order = sorted(range(len(names)), key=lambda i: _tree.natural_key(names[i]))
    numbers, sent, total = [0] * len(names), 0.0, sum(nbytes)
    for i in reversed(order):
        # A leaf goes where its middle lies.
        middle = (sent + nbytes[i] / 2) / (total or 1)
        numbers[i] = min(int(middle * num_buckets), num_buckets - 1)
        sent += nbytes[i]
    return numbers


def wait_for(arrays: Any, arrived: Any) -> Any:
    """Return arrays that are there when others have arrived."""
    return jax.lax.optimization_barrier((arrays, arrived))[0]
