"""Action: how a group moves parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any


# No tuple: `jax.jit` needs an object that can be hashed and weakly referenced.
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Action:
    """Moves of parameters that keep a loss, near the one that moves nothing.

    Attributes:
      start: ``params -> amount``, a tree of zeros: the move that changes nothing.
      move: ``(amount, params, batch) -> params``, differentiable in ``amount``.
      name: How errors call it.
    """

    start: Callable[[Any], Any]
    move: Callable[[Any, Any, Any], Any]
    name: str = "custom action"

    def __repr__(self):
        return self.name
