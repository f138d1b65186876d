"""Keep sparse: parameters outside of a mask go to zero, and stay there."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _masks, _tree


class KeepSparseState(NamedTuple):
    """State of :func:`keep_sparse`."""

    mask: Any  # tree of params: bool, shape of the leaf; equal on all workers


def keep_sparse(mask: Any) -> optax.GradientTransformationExtraArgs:
    r"""Set parameters outside of a mask to zero, and keep them there.

    .. math:: u_i = u_i \text{ if } m_i \text{, else } -\theta_i

    Put it last in the chain: momentum, weight decay and noise before it then move no
    weight that the mask leaves out. Only the parameters' gradients at such weights are
    left to pay for; :func:`jaxdist.compression.masked` does not send them.

    Args:
      mask: Tree of boolean arrays with the names and shapes of the parameters, as
        :func:`jaxdist.sparsity.random_mask` returns, True for what is kept. A leaf for
        which it has None is kept whole. Arrays of NumPy, or of JAX outside of
        ``jax.jit``.

    Returns:
      A local transformation that keeps structure, shapes and dtypes of the updates. Its
      state holds the mask, one byte for each parameter, sharded as the parameters are
      and saved with them. Updates are exact where the parameter is zero, or its dtype
      no wider than theirs.

    Raises:
      TypeError: If a leaf of ``mask`` is no array of bools, or is traced.
      ValueError: If ``mask`` holds no array; in ``init``, if a leaf has no mask or one
        of another shape; in ``update``, if ``params`` is missing.

    Communication:
      None.

    Example:
      >>> tx = optax.chain(
      ...     optax.sgd(0.1), jaxdist.keep_sparse(jnp.array([True, False]))
      ... )
      >>> params = jnp.ones(2)
      >>> updates, state = tx.update(jnp.ones(2), tx.init(params), params)
      >>> print(optax.apply_updates(params, updates))
      [0.9 0. ]

    References:
      Su et al., `Sanity-Checking Pruning Methods: Random Tickets can Win the Jackpot
      <https://arxiv.org/abs/2009.11094>`_, 2020. Their code multiplies gradients by the
      mask, which keeps at zero only what is zero.
    """
    masks = _masks.read_masks(mask)

    def init(params):
        _tree.check_arrays("params", params)

        def leaf_mask(path, leaf):
            known = _masks.find_mask(masks, _tree.path_name(path), leaf)
            nothing = jnp.zeros_like(leaf, dtype=bool)
            return ~nothing if known is None else nothing | known

        return KeepSparseState(jax.tree.map_with_path(leaf_mask, params))

    def update(updates, state, params=None, **extra_args):
        del extra_args
        _checks.own_state(state, KeepSparseState, "keep_sparse")
        _tree.check_arrays("updates", updates)
        if params is None:
            raise ValueError(
                "`params` must be given to `update`, since keep_sparse sets them to "
                "zero, got None. Call tx.update(updates, state, params)."
            )
        kept = _tree.arrange_made(state, init, updates).mask
        updates = jax.tree.map(
            lambda m, u, p: jnp.where(m, u, (-p).astype(u.dtype)), kept, updates, params
        )
        return updates, state

    return optax.GradientTransformationExtraArgs(init, update)
