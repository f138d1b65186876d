"""Control variates: the noise of a mini-batch, without what it has at the mode too."""

from typing import Any, NamedTuple

import jax
import optax

from jaxdist import _checks, _tree


class ControlVariateState(NamedTuple):
    """State of :func:`control_variate`."""

    reference_gradient: Any  # like the parameters, float32 or wider; equal on workers
    inner_state: Any  # of what handles the differences; () where nothing does


def control_variate(
    reference_gradient: Any, inner: optax.GradientTransformation | None = None
) -> optax.GradientTransformationExtraArgs:
    r"""Take from a mini-batch only how its gradient differs from that at a fixed point.

    .. math:: u = g_S(\theta) - g_S(\theta^*) + \nabla U(\theta^*)

    With the noise of a mini-batch alone, SGLD with a constant rate stays about as far
    from the posterior as SGD. Near :math:`\theta^*`, such as the mode, most of that
    noise is that of the fixed point too, and cancels (SGLDFP).

    ``tx.update(updates, state, params, reference_updates=...)`` takes
    :math:`g_S(\theta^*)`, the gradient of the **same** mini-batch at the fixed point, a
    tree like the updates.

    Args:
      reference_gradient: :math:`\nabla U(\theta^*)`, of all examples, a tree like the
        parameters; in the units of the updates (of the mean loss, if they are). It
        keeps the chain unbiased where :math:`\theta^*` is only about the mode.
      inner: What handles the difference :math:`g_S(\theta) - g_S(\theta^*)` before the
        reference is added: ``jaxdist.aggregate("data", ...)`` sends one message, in
        which a compressor finds little to lose. None where both gradients are
        aggregated already, or nothing is.

    Returns:
      A transformation that keeps structure, shapes and dtypes, and that is as equal
      between workers as the updates are, or the result of ``inner``.

    Raises:
      ValueError: In ``init``, if ``reference_gradient`` is no tree like the parameters;
        in ``update``, if ``reference_updates`` is missing, or no tree like the updates.
      TypeError: If ``inner`` is no transformation, or if ``reference_gradient`` holds
        something else than floating-point arrays.

    Communication:
      That of ``inner``; else none.

    Example:
      >>> tx = jaxdist.sgmcmc.control_variate(jnp.array([0.5]))
      >>> state = tx.init(jnp.zeros(1))
      >>> at_mode = jnp.array([2.0])
      >>> print(tx.update(jnp.array([3.0]), state, reference_updates=at_mode)[0])
      [1.5]

    References:
      Brosse, Durmus and Moulines, `The Promises and Pitfalls of Stochastic Gradient
      Langevin Dynamics <https://arxiv.org/abs/1811.10072>`_, 2018. Baker et al.,
      `Control Variates for Stochastic Gradient MCMC <https://arxiv.org/abs/1706.05439>`_,
      2019. Vono et al., `QLSD: Quantised Langevin Stochastic Dynamics for Bayesian
      Federated Learning <https://arxiv.org/abs/2106.00797>`_, 2022, for compressed
      differences.
    """
    if not jax.tree.leaves(reference_gradient):
        raise ValueError(
            "`reference_gradient` must be a tree of arrays like the parameters, got "
            f"{reference_gradient!r}."
        )
    _tree.check_arrays("reference_gradient", reference_gradient)
    _tree.check_floats("reference_gradient", reference_gradient)
    if inner is not None:
        _checks.optimizer("inner", inner)
        inner = optax.with_extra_args_support(inner)

    def init(params):
        copied = _copy_like(params, reference_gradient)
        return ControlVariateState(copied, () if inner is None else inner.init(params))

    def update(updates, state, params=None, **extra_args):
        _checks.own_state(state, ControlVariateState, "control_variate")
        _tree.check_arrays("updates", updates)
        reference = extra_args.get("reference_updates")
        if reference is None:
            raise ValueError(
                "control_variate needs `reference_updates`, the gradient of the same "
                "mini-batch at the fixed point: call tx.update(updates, state, params, "
                "reference_updates=...)."
            )
        _check_alike("reference_updates", reference, "updates", updates)
        updates = jax.tree.map(_difference, updates, reference)
        inner_state = state.inner_state
        if inner is not None:
            updates, inner_state = inner.update(
                updates, inner_state, params, **extra_args
            )
        added = _tree.arrange_like(updates, state.reference_gradient)
        updates = jax.tree.map(_sum, updates, added)
        return updates, ControlVariateState(state.reference_gradient, inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _copy_like(params: Any, reference_gradient: Any) -> Any:
    """Return a copy with the types of the parameters, or raise."""
    # optax.tree_map_params asks for the structure of a state without any leaf.
    if not jax.tree.leaves(params):
        return params
    _check_alike("reference_gradient", reference_gradient, "params", params)

    def copy(leaf, reference):
        zeros = _tree.wide_zeros(leaf)
        return zeros + reference.astype(zeros.dtype)

    return jax.tree.map(copy, params, reference_gradient)


def _difference(leaf, reference):
    wide = _tree.widened(leaf)
    return (wide - reference.astype(wide.dtype)).astype(leaf.dtype)


def _sum(leaf, reference):
    return (_tree.widened(leaf) + reference).astype(leaf.dtype)


def _check_alike(name: str, tree: Any, other_name: str, other: Any) -> None:
    """Raise unless both trees have the same structure and shapes."""
    found, wanted = (jax.tree.map(lambda leaf: leaf.shape, t) for t in (tree, other))
    if found != wanted:
        raise ValueError(
            f"`{name}` must be a tree like `{other_name}`, of the shapes {wanted}, "
            f"got {found}."
        )
