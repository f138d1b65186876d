"""Langevin noise: the one link of a chain that makes a sampler of optax's SGD."""

import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxdist import _checks, _random, _tree

DISTRIBUTIONS = ("normal", "binomial")


class AddLangevinNoiseState(NamedTuple):
    """State of :func:`add_langevin_noise`."""

    count: jax.Array  # int32, shape (); equal on all workers
    key: _random.Stream  # equal on all workers


def add_langevin_noise(
    learning_rate: float | optax.Schedule,
    temperature: float | optax.Schedule = 1.0,
    momentum: float = 0.0,
    key: int | jax.Array = 0,
    distribution: Literal["normal", "binomial"] = "normal",
) -> optax.GradientTransformationExtraArgs:
    r"""Add the noise with which ``optax.sgd`` draws from a posterior.

    .. math:: u_t = g_t + \sqrt{\frac{2 (1 - m) T}{\eta_t}}\,\xi_t, \qquad
       \xi_t \sim N(0, I)

    In front of ``optax.sgd(learning_rate, momentum)`` with the same two numbers it is
    SGLD, and with momentum SGHMC. The chain draws from
    :math:`\exp(-U/T)` where the gradients are those of U:

    ================================================  ================================
    gradients of                                      ``temperature``
    ================================================  ================================
    U, minus the log of likelihood times prior        1
    U/N, the mean loss of N examples                  1/N
    ================================================  ================================

    Weight decay in front of it is then the prior's precision, or that divided by N.

    Put it *after* :func:`jaxdist.aggregate`: all workers of a chain then add the same
    noise, and their replicas stay equal. Independent chains on an axis of their own
    are ``per_worker("chain", add_langevin_noise(...))``. Noise that each worker adds
    before a mean needs a temperature W times as high, and must never meet a robust
    rule.

    Args:
      learning_rate: :math:`\eta`, that of ``optax.sgd``: above 0, or a schedule of the
        number of steps before. A step with the rate 0 gets no noise.
      temperature: T, at least 0, in units of U; or a schedule likewise.
      momentum: m in [0, 1), no unit, that of ``optax.sgd``; 0 where that has none.
      key: Seed or key of the noise. Workers that have the same draw alike.
      distribution: Of each coordinate: ``"normal"``, or ``"binomial"`` of eight coins,
        scaled to the same mean and variance, in a fourth of the time on a CPU. The
        covariance of the chain is the same, its excess kurtosis at most -1/4 times
        :math:`(1-\rho^2)/(1+\rho^2)` with :math:`\rho = 1 - \eta a`.

    Returns:
      A transformation that keeps structure, shapes and dtypes. On a quadratic U of
      curvature a the chain's variance is :math:`(T/a) / (1 - \eta a / (2 (1 + m)))`
      with the full gradient. It exists while :math:`\eta a < 2 (1 + m)`;
      :func:`largest_learning_rate` has the limit for late gradients, which is much
      lower. No friction is to be chosen: parameters move by the new momentum.

    Raises:
      ValueError: If ``learning_rate`` is not above 0, ``temperature`` negative,
        ``momentum`` not in [0, 1) or ``distribution`` unknown.
      TypeError: In ``update``, if updates are not real floating-point numbers.

    Communication:
      None.

    Example:
      >>> tx = optax.chain(
      ...     jaxdist.sgmcmc.add_langevin_noise(0.1, momentum=0.9),
      ...     optax.sgd(0.1, momentum=0.9),
      ... )
      >>> def step(carry, _):
      ...     params, state = carry
      ...     gradient = 4 * (params - 3)  # of a Gaussian of variance 1/4 around 3
      ...     updates, state = tx.update(gradient, state)
      ...     params = optax.apply_updates(params, updates)
      ...     return (params, state), params
      >>> start = jnp.zeros(1000), tx.init(jnp.zeros(1000))  # a thousand chains
      >>> draws = jax.lax.scan(step, start, None, 200)[1][100:]
      >>> print(f"{draws.mean():.2f} {draws.var():.2f}")
      3.00 0.28

    References:
      Welling and Teh, `Bayesian Learning via Stochastic Gradient Langevin Dynamics
      <https://www.stats.ox.ac.uk/~teh/research/compstats/WelTeh2011a.pdf>`_, 2011.
      Chen, Fox and Guestrin, `Stochastic Gradient Hamiltonian Monte Carlo
      <https://arxiv.org/abs/1402.4102>`_, 2014, Equation 15, whose velocity is
      :math:`-\eta` times the trace of ``optax.sgd``, and friction 1 - m.
    """
    rate_of = _checks.schedule("learning_rate", learning_rate, above=True)
    temperature_of = _checks.schedule("temperature", temperature)
    momentum = _checks.real("momentum", momentum, 0.0, 1.0, below=True)
    distribution = _checks.one_of("distribution", distribution, DISTRIBUTIONS)
    _random.check_key(key)
    stream = _random.stream_of(key, "add_langevin_noise")

    def init(params):
        _check_real("params", params)
        return AddLangevinNoiseState(jnp.zeros((), jnp.int32), stream)

    def update(updates, state, params=None, **extra_args):
        del params, extra_args
        _checks.own_state(state, AddLangevinNoiseState, "add_langevin_noise")
        _check_real("updates", updates)
        rate, heat = rate_of(state.count), temperature_of(state.count)
        moves = rate > 0
        variance = 2 * (1 - momentum) * heat / jnp.where(moves, rate, 1)
        scale = jnp.where(moves, jnp.sqrt(variance), 0)
        step_key = _random.step_key(state.key, state.count)

        def add_noise(path, leaf):
            key = _random.named_key(step_key, _tree.path_name(path))
            wide = _tree.widened(leaf)
            noise = scale.astype(wide.dtype) * _draw(
                distribution, key, leaf.shape, wide.dtype
            )
            return (wide + noise).astype(leaf.dtype)

        noisy = jax.tree.map_with_path(add_noise, updates)
        return noisy, AddLangevinNoiseState(_tree.next_count(state.count), state.key)

    return optax.GradientTransformationExtraArgs(init, update)


def _draw(distribution: str, key: jax.Array, shape: Any, dtype: Any) -> jax.Array:
    """Return noise of mean 0 and variance 1."""
    if distribution == "normal":
        return jax.random.normal(key, shape, dtype)
    size = math.prod(shape)
    # JAX hashes once for each number, however narrow: four share a word.
    words = jax.random.bits(key, (-(-size // 4),), jnp.uint32)
    coins = jax.lax.population_count(jax.lax.bitcast_convert_type(words, jnp.uint8))
    return (coins.reshape(-1)[:size].reshape(shape).astype(dtype) - 4) / math.sqrt(2)


def _check_real(argument: str, tree: Any) -> None:
    """Raise for leaves that are no real floating-point numbers."""
    _tree.check_arrays(argument, tree)
    _tree.check_floats(argument, tree)
    for name, leaf in _tree.named_leaves(tree):
        if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise TypeError(
                f"`{argument}` must be real, but leaf {name!r} is {leaf.dtype}. Split "
                "it into real and imaginary parts."
            )
