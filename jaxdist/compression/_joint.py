"""Bundles: several leaves that are compressed as if they were one."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxdist import _tree
from jaxdist.compression import _compressor, _per_leaf

_JOINT, _SEPARATE = "joint", "separate"


def is_joint(policy: Any) -> bool:
    """Whether the policy compresses several leaves as one."""
    return isinstance(policy, _compressor.LeafPolicy) and policy.joint is not None


class JoinedTree(NamedTuple):
    """A tree in which some leaves are one vector."""

    tree: Any
    unbundle: Callable[[Any], Any]  # takes such a tree apart again
    policy_of: Callable[[Any], Any]  # compressor or policy -> the same for this tree


def _leave_unchanged(anything: Any) -> Any:
    return anything


def join_leaves(policy: Any, tree: Any) -> JoinedTree:
    """Join the leaves that a joint policy compresses; other policies change nothing.

    Args:
      policy: Compressor or policy.
      tree: Gradients or parameters.
    """
    untouched = JoinedTree(tree, _leave_unchanged, _leave_unchanged)
    if not is_joint(policy):
        return untouched
    names, leaves, treedef = _tree.flatten_named(tree)
    chosen = [
        i
        for i, (name, leaf) in enumerate(zip(names, leaves, strict=True))
        if _per_leaf.select_compressor(policy, name, leaf) is policy.joint
    ]
    if not chosen:
        return untouched
    separate = list(leaves)
    for i in chosen:
        separate[i] = None
    dtypes = {leaves[i].dtype for i in chosen}
    dtype = dtypes.pop() if len(dtypes) == 1 else _tree.accumulator_dtype(*dtypes)
    joint = jnp.concatenate([leaves[i].reshape(-1).astype(dtype) for i in chosen])

    def unbundle(bundled):
        results = treedef.flatten_up_to(bundled[_SEPARATE])
        parts = _tree.split_flat(bundled[_JOINT], (leaves[i].size for i in chosen))
        for i, part in zip(chosen, parts, strict=True):
            results[i] = part.reshape(leaves[i].shape).astype(leaves[i].dtype)
        return treedef.unflatten(results)

    bundled = {_JOINT: joint, _SEPARATE: treedef.unflatten(separate)}
    return JoinedTree(bundled, unbundle, _joined_policy)


def _joined_policy(policy: Any) -> Any:
    """Return the policy for the names that leaves have in a bundle."""
    if not isinstance(policy, _compressor.LeafPolicy):
        return policy

    def select(path, leaf):
        if path == _JOINT and policy.joint is not None:
            return policy.joint
        return policy.select(path.removeprefix(f"{_SEPARATE}/"), leaf)

    return _compressor.LeafPolicy(select, policy.name)


def check_downlink(uplink: Any, downlink: Any) -> None:
    """Raise unless the way back can take the leaves that the way there joins."""
    is_policy = isinstance(downlink, _compressor.LeafPolicy)
    if is_policy and is_joint(uplink) != is_joint(downlink):
        raise ValueError(
            f"`downlink` {downlink} and `compressor` {uplink} must either both have "
            "joint=True or neither: the way back carries the leaves that came."
        )
