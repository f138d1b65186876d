"""Exact diffusion: gossip that ends where all-reduce would, on unequal data too.

Workers of plain gossip are held apart by their gradients, which are not zero where that
of all data is. Exact diffusion finds for each worker a correction that cancels its own.

The papers add how far the parameters came since the last step of their own. That is the
sum of all moves so far, and as a sum it is kept here: what is rounded of parameters, in
bfloat16 above all, is then not added up.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxdist import _checks, _collectives, _traffic, _tree
from jaxdist.gossip import _correction, _mixing, _network, _topology
from jaxdist.workers import _own_params, _worker_state

_LOWEST = -1 / 3  # eigenvalue, above which D2 is stable


class ExactDiffusionState(NamedTuple):
    """State of :func:`exact_diffusion`."""

    correction: _worker_state.PerWorkerState  # like params, float32 or wider; varies


def exact_diffusion(
    axis_name: _collectives.AxisName, topology: _topology.Topology, lazy: bool = True
) -> optax.GradientTransformationExtraArgs:
    r"""Move workers towards their neighbours, without the bias of unequal data.

    .. math:: c_i \leftarrow c_i + \sum_j \bar w_{ij} (\phi_j - \phi_i), \quad
       \phi_i = x_i + u_i + c_i, \qquad x_i \leftarrow x_i + u_i + c_i

    with :math:`\bar W = (I + W) / 2`, and :math:`\bar W = W` for D². The
    corrections :math:`c` start at zero, and add up to zero over the workers. With full
    gradients and constant step sizes the workers end at the optimum of all data, where
    :func:`mix_with_neighbors` ends at a distance from it.

    Put it last in the chain, after a learning rate that does not change quickly. Plain
    ``optax.sgd`` before it is what was analysed.

    Args:
      axis_name: Mapped axis of the workers, or a tuple of axes.
      topology: A symmetric topology of one phase.
      lazy: Whether each worker keeps half of its own; without it D² mixes twice as
        fast, and needs eigenvalues above -1/3.

    Returns:
      A transformation that keeps structure, shapes and dtypes; its updates differ
      between workers. Who is absent (``weight=0``) or not finite is not mixed, as in
      :func:`mix_with_neighbors`, and keeps its correction.

    Raises:
      ValueError: If ``topology`` is not symmetric, or has several phases; in
        ``update``, if it is not for so many workers, if its eigenvalues are too low for
        D², or if ``params`` is missing or the same on all workers.
      TypeError: If ``topology`` is none; in ``init``, if a parameter is not
        floating-point.

    Communication:
      :math:`\phi`, with the bytes of the parameters, to each neighbour, as in
      :func:`mix_with_neighbors`.

    Example:
      >>> tx = jaxdist.exact_diffusion("worker", jaxdist.gossip.ring())
      >>> def worker(center):
      ...     def step(carry, _):
      ...         params, state = carry
      ...         gradient = params - center
      ...         updates, state = tx.update(-0.1 * gradient, state, params)
      ...         return (params + updates, state), None
      ...
      ...     start = (0 * center, tx.init(0 * center))
      ...     return jax.lax.scan(step, start, length=300)[0][0]
      >>> centers = jnp.array([0.0, 1.0, 2.0, 3.0])
      >>> print(jax.vmap(worker, axis_name="worker")(centers).round(4))
      [1.5 1.5 1.5 1.5]

    References:
      Yuan, Ying, Zhao and Sayed, `Exact Diffusion for Distributed Optimization and
      Learning <https://arxiv.org/abs/1702.05122>`_, 2019, Algorithm 1. Tang et al.,
      `D²: Decentralized Training over Decentralized Data
      <https://arxiv.org/abs/1803.07068>`_, 2018, Algorithm 1.
    """
    _checks.axis_name(axis_name)
    _topology.check_topology(topology)
    _checks.flag("lazy", lazy)
    if topology.key is not None or not topology.symmetric:
        raise ValueError(_what_fits(topology))
    name = f"exact_diffusion({axis_name!r})"
    share = 0.5 if lazy else 1.0

    def init(params):
        _tree.check_arrays("params", params)
        _tree.check_floats("params", params)
        return ExactDiffusionState(_correction.init_correction(params, axis_name))

    def update(updates, state, params=None, *, weight=None, arrival=None, **extra_args):
        del extra_args
        _checks.own_state(state, ExactDiffusionState, "exact_diffusion")
        _tree.check_arrays("updates", updates)
        state = _tree.arrange_made(state, init, updates)
        never = jnp.zeros((), jnp.int32)
        network = _network.network_of_step(topology, axis_name, never, arrival)
        _check_matrix(topology, network.num_workers, lazy)
        _own_params.check_own_params("exact_diffusion", params, axis_name, arrival)
        updates = _collectives.to_varying(updates, axis_name)
        correction = _correction.load_correction(updates, state.correction)
        sent = [
            (_tree.widened(leaf) + u.astype(c.dtype) + c).astype(leaf.dtype)
            for leaf, u, c in zip(
                *(jax.tree.leaves(params), jax.tree.leaves(updates), correction),
                strict=True,
            )
        ]
        tree = jax.tree.unflatten(jax.tree.structure(updates), sent)
        values = _mixing.values_of(tree, weight, axis_name)
        with _traffic.sender(init, name):
            heard = _mixing.hear_values(network, values)
        moves = _mixing.mixed_differences(network, values, heard)
        correction = _correction.add_moves(correction, moves, share)
        updates = _mixing.add_to_updates(updates, correction, 1.0)
        kept = values.treedef.unflatten(correction)
        return updates, ExactDiffusionState(_worker_state.attach_axis(kept, axis_name))

    return optax.GradientTransformationExtraArgs(init, update)


def _what_fits(topology):
    return (
        "`topology` of exact_diffusion must be symmetric, with one phase, got "
        f"{topology.name}. Take ring, torus or circulant, or track_gradient, for which "
        "any topology will do that keeps the mean."
    )


def _check_matrix(topology, num_workers, lazy):
    """Raise where the method would not be stable."""
    if len(topology.phases(num_workers)) > 1:
        raise ValueError(_what_fits(topology))
    lowest = float(np.min(np.linalg.eigvalsh(topology.matrix(num_workers))))
    if not lazy and lowest <= _LOWEST + 1e-9:
        raise ValueError(
            f"`topology` {topology.name} of {num_workers} workers must have "
            f"eigenvalues above -1/3 where `lazy` is False, got {lowest:.3g}: take "
            "lazy=True."
        )
