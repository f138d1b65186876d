"""Trial: whether an optimizer fits the way in which its workers are laid out.

Types of a mapped axis find out. `vmap` has none, so a simulation asks the same of a
mesh that does not exist, and gives the errors that a mesh would give.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax

from jaxdist import _checks, _collectives, _tree
from jaxdist.layout import _state_specs
from jaxdist.recipes import _local_step
from jaxdist.workers import _typed, _worker_state


def try_optimizer(
    tx: optax.GradientTransformation,
    params: Any,
    axis_name: _collectives.AxisName,
    sizes: Mapping[str, int],
    per_worker_params: bool,
    extra_of: Callable[[Any, Any], dict[str, Any]] | None = None,
) -> None:
    """Raise when a step would leave something different that must be equal.

    Args:
      tx: The whole optimizer.
      params: Parameters, or their shapes and dtypes.
      axis_name: Of the workers.
      sizes: How many workers each of these axes has.
      per_worker_params: Whether each worker has parameters of its own.
      extra_of: ``(own, common) -> extra`` arguments of an update, from the parameters
        as they vary over workers and as they do not.
    """

    def step(params):
        common = params
        own, loss = _collectives.to_varying((params, jnp.zeros(())), axis_name)
        params = own if per_worker_params else params
        opt_state = tx.init(params)
        # What encloses an aggregation may ask it about updates that no worker has.
        _state_specs.check_wrappers(opt_state)
        stepped, opt_state = _local_step.update_params(
            *(tx, axis_name, own, opt_state, params),
            value=loss,
            **(extra_of(own, common) if extra_of else {}),
        )
        check_same_everywhere(stepped, opt_state, axis_name, per_worker_params)

    try:
        _typed.trace_typed(step, sizes, params)
    except _checks.LayoutError:
        raise
    except Exception:
        # Code that runs without types need not run with them, and an error that has
        # nothing to do with types comes again in the step.
        return


def check_same_everywhere(
    params: Any,
    opt_state: Any,
    axis_name: _collectives.AxisName,
    per_worker_params: bool,
) -> None:
    """Raise when what must be equal on all workers may differ, as its type says."""
    if not per_worker_params:
        for name, leaf in _tree.named_leaves(params):
            if _collectives.is_varying(leaf, axis_name):
                raise _checks.LayoutError(
                    f"`tx` gives every worker other updates (leaf {name!r}): put "
                    f"jaxdist.aggregate({axis_name!r}, ...) into the chain, around all "
                    "leaves that are trained, or give each worker its own parameters "
                    "with `per_worker_params=True`."
                )
    common = _worker_state.map_slices(lambda leaf: None, opt_state)
    for name, leaf in _tree.named_leaves(common):
        if _collectives.is_varying(leaf, axis_name):
            raise _checks.LayoutError(
                f"`tx` keeps state that differs between workers (leaf {name!r}): wrap "
                f"what owns it in jaxdist.per_worker({axis_name!r}, ...)."
            )
