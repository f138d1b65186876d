"""Bundles: several leaves that are compressed as if they were one."""

import itertools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxdist import _leafwise, _tree, _types

_JOINT, _SEPARATE = "joint", "separate"


def is_joint(policy: Any) -> bool:
    """Whether the policy compresses several leaves as one."""
    return isinstance(policy, _types.LeafPolicy) and policy.joint is not None


def bundle(policy: Any, tree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Join the leaves that a joint policy compresses; other policies change nothing.

    Args:
      policy: Compressor or policy.
      tree: Gradients or parameters.

    Returns:
      A tree of one vector and of all other leaves, and the function that takes such a
      tree apart again.
    """
    if not is_joint(policy):
        return tree, lambda bundled: bundled
    names, leaves, treedef = _tree.flatten(tree)
    chosen = [
        i
        for i, (name, leaf) in enumerate(zip(names, leaves, strict=True))
        if _leafwise.select(policy, name, leaf) is policy.joint
    ]
    if not chosen:
        return tree, lambda bundled: bundled
    separate = list(leaves)
    for i in chosen:
        separate[i] = None
    dtypes = {leaf.dtype for leaf in (leaves[i] for i in chosen)}
    dtype = dtypes.pop() if len(dtypes) == 1 else _tree.accumulator_dtype(*dtypes)
    joint = jnp.concatenate([leaves[i].reshape(-1).astype(dtype) for i in chosen])
    bundled = {_JOINT: joint, _SEPARATE: treedef.unflatten(separate)}

    def unbundle(bundled):
        results = treedef.flatten_up_to(bundled[_SEPARATE])
        ends = itertools.accumulate(leaves[i].size for i in chosen)
        parts = jnp.split(bundled[_JOINT], list(ends)[:-1])
        for i, part in zip(chosen, parts, strict=True):
            results[i] = part.reshape(leaves[i].shape).astype(leaves[i].dtype)
        return treedef.unflatten(results)

    return bundled, unbundle


def policy_of(policy: Any, uplink: Any) -> Any:
    """Return the policy for the trees that ``bundle(uplink, ...)`` makes."""
    if not is_joint(uplink) or not isinstance(policy, _types.LeafPolicy):
        return policy

    def select(path, leaf):
        if path == _JOINT and policy.joint is not None:
            return policy.joint
        return policy.select(path.removeprefix(f"{_SEPARATE}/"), leaf)

    return _types.LeafPolicy(select, policy.name)


def check_downlink(uplink: Any, downlink: Any) -> None:
    """Raise unless the way back can take the leaves that the way there joins."""
    is_policy = isinstance(downlink, _types.LeafPolicy)
    if is_policy and is_joint(uplink) != is_joint(downlink):
        raise ValueError(
            f"`downlink` {downlink} and `compressor` {uplink} must either both have "
            "joint=True or neither: the way back carries the leaves that came."
        )
