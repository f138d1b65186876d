"""Law: how long a worker takes for one mini-batch.

A law is a function of a key, a worker and the number of the draw, so that a user's own
is one line, and a recorded trace and a random law are the same thing. The key belongs
to this worker and this draw already. What is known in closed form is kept with it.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxdist import _checks

LawFunction = Callable[[jax.Array, jax.Array, jax.Array], Any]


def _any_number(num_workers: int) -> None:
    """Accept every number of workers."""


# No tuple: `jax.jit` needs an object that can be hashed and weakly referenced.
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Law:
    """A law of compute time: ``law(key, worker, draw) -> seconds``.

    Any function of these three is a law as well; this class adds what is known of it,
    for :func:`expected_step_time`.

    Attributes:
      sample: ``(key, worker, draw) -> seconds``, a scalar of at least 0; inf never
        ends. The key is typed, of this worker and draw; ``worker`` in [0, W) and
        ``draw``, counted from 0, are int32 of shape ().
      name: How errors and plots call it.
      mean: Mean seconds of a draw, inf where there is none; None where workers differ
        or it is not known.
      smallest: ``(k, num_workers) -> seconds``, the mean of the k-th smallest of so
        many draws, or None where no formula is known.
      memoryless: Whether what remains is distributed as what began: exponential laws.
      check: ``(num_workers) -> None``; raises where it is made for others.
    """

    sample: LawFunction
    name: str = "custom law"
    mean: float | None = None
    smallest: Callable[[int, int], float] | None = None
    memoryless: bool = False
    check: Callable[[int], None] = _any_number

    def __repr__(self):
        return self.name

    def __call__(self, key: jax.Array, worker: jax.Array, draw: jax.Array) -> jax.Array:
        """Return the seconds of one draw of one worker, float32 of shape ()."""
        return jnp.asarray(self.sample(key, worker, draw), jnp.float32)


def checked_law(name: str, value: Any) -> Law:
    """Return the law, or a law of the user's function; raise when it is neither."""
    _checks.function(name, value, "(key, worker, draw) -> seconds")
    if isinstance(value, Law):
        return value
    index = jax.ShapeDtypeStruct((), jnp.int32)
    key = jax.eval_shape(jax.random.key, 0)
    found = jax.eval_shape(value, key, index, index)
    shapes = [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(found)]
    is_number = len(shapes) == 1 and shapes[0][0] == ()
    if not is_number or not jnp.issubdtype(shapes[0][1], jnp.number):
        raise ValueError(
            f"`{name}` must return one number of seconds, a scalar, got {found}."
        )
    return Law(value, getattr(value, "__name__", "custom law"))


def finite_seconds(name: str, value: Any, *, above: bool = False) -> float:
    """Return seconds as a float, or raise unless they are finite and at least 0."""
    return float(_checks.real(name, value, 0.0, above=above, static=True))


def exponential_smallest(mean: float, k: int, num_workers: int) -> float:
    """Return the mean of the k-th smallest of W exponential times."""
    return mean * math.fsum(1 / n for n in range(num_workers - k + 1, num_workers + 1))
