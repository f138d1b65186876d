"""Own updates: what makes one gradient of W needs them to be apart."""

from typing import Any

from jaxdist import _checks, _collectives, _tree


def check_own_updates(updates: Any, axis_name: _collectives.AxisName) -> None:
    """Raise for leaves that are no gradients, or that were aggregated before."""
    _tree.check_floats("updates", updates)
    names, leaves, _ = _tree.flatten_named(updates)
    for name, leaf in zip(names, leaves, strict=True):
        # JAX forgets the type of what has no elements, which also cannot differ.
        if leaf.size and not _collectives.is_varying(leaf, axis_name):
            raise _checks.LayoutError(
                f"`updates` are already equal on all workers of {axis_name!r} (leaf "
                f"{name!r}): under shard_map, jax.grad of replicated parameters sums "
                "over the workers before anything could be compressed or checked. "
                f"Differentiate with jaxdist.value_and_grad(loss, {axis_name!r})."
            )
