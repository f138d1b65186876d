"""Compare samplers with blackjax's: their variances, and seconds of a step.

python -m benchmarks.peers.sampling, in the environment of requirements-blackjax.txt

The first table is the regression of benchmarks/papers/sampling.py: traces of the
covariance that 4000 chains simulate, over the posterior's. blackjax moves with a step
h where ours has a rate of h². Its SGHMC draws a new momentum every ten gradients. The
second table trains a network of 1.07 million parameters with both; they take turns,
and get the same gradients.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxdist as jd
from benchmarks.papers import sampling

try:
    import blackjax
except ImportError:
    raise SystemExit(
        "blackjax is not there: install benchmarks/requirements-blackjax.txt, or run "
        "`make benchmark-blackjax`, which does."
    ) from None

CHAINS, GRADIENTS, BURN_IN, LEAPS = 4000, 3000, 500, 10


def peer_trace(model, chain: sampling.Chain):
    """Return the traces of blackjax's chains ``[CHAINS]``."""
    x, y, mode = (jnp.asarray(part, jnp.float32) for part in (*model, model.mode))
    number, rate = len(x), chain.learning_rate / len(x)

    def log_gradient(params, batch):
        rows, targets = batch
        return -params - number / len(rows) * rows.T @ (rows @ params - targets)

    def centered_gradient(params, batch):  # what blackjax.sgmcmc.gradients has too
        at_mode = log_gradient(mode, (x, y)) - log_gradient(mode, batch)
        return log_gradient(params, batch) + at_mode

    gradient = centered_gradient if chain.control_variate else log_gradient
    leaps = LEAPS if chain.momentum else 1
    if chain.momentum:
        move, step_size = blackjax.sghmc(gradient, leaps).step, rate**0.5
    else:
        move, step_size = blackjax.sgld(gradient).step, rate

    def run(key):
        noise_key, batch_key = jax.random.split(key)

        def step(carry, count):
            params, total = carry
            own = jax.random.fold_in(batch_key, count)
            chosen = sampling.examples_of_step(chain, model, own)
            batch = x[chosen], y[chosen]
            own = jax.random.fold_in(noise_key, count)
            params = move(own, params, batch, step_size)
            is_counted = count * leaps >= BURN_IN
            total += jnp.where(is_counted, jnp.sum((params - mode) ** 2), 0)
            return (params, total), None

        start = mode, jnp.zeros(())
        (_, total), _ = jax.lax.scan(step, start, jnp.arange(GRADIENTS // leaps))
        return total / ((GRADIENTS - BURN_IN) // leaps)

    keys = jax.random.split(jax.random.key(0), CHAINS)
    return np.asarray(jax.jit(jax.vmap(run))(keys))


CASES = {
    "SGLD": sampling.Chain(0.5, batch_size=10),
    "SGLD with a control variate": sampling.CASES["SGLD with a control variate"],
    "SGHMC, h = 0.003, full gradient": sampling.Chain(100 * 0.003**2, 0.9),
    "SGHMC, h = 0.01, full gradient": sampling.Chain(100 * 0.01**2, 0.9),
    "SGHMC, h = 0.0316, full gradient": sampling.Chain(100 * 0.001, 0.9),
}


def show_variances() -> None:
    """Print the first table."""
    model = sampling.draw_regression(100, 2, 0)
    posterior = np.trace(np.linalg.inv(model.precision))
    print("| trace / that of the posterior | exact law of ours | ours | blackjax |")
    print("|---|---:|---:|---:|")
    for name, chain in CASES.items():
        exact, ratio, error = sampling.measure(chain, model, CHAINS, GRADIENTS, BURN_IN)
        scale = exact / posterior
        traces = peer_trace(model, chain) / posterior
        theirs = "not finite"
        if np.all(np.isfinite(traces)):
            theirs = f"{traces.mean():.3f} ± {traces.std() / np.sqrt(CHAINS):.3f}"
        own = f"{scale:.3f} | {scale * ratio:.3f} ± {scale * error:.3f}"
        print(f"| {name} | {own} | {theirs} |", flush=True)


def init_params(width=960, inputs=64):
    """Return the weights of a network with two hidden layers."""
    rng = np.random.default_rng(0)
    shapes = (inputs, width), (width, width), (width, 64)
    return [
        jnp.asarray(rng.standard_normal(shape) / shape[0] ** 0.5, jnp.float32)
        for shape in shapes
    ]


def potential(params, batch):
    """Return U of a batch of 60000 examples, with a standard normal prior."""
    hidden = batch[0]
    for kernel in params[:-1]:
        hidden = jax.nn.relu(hidden @ kernel)
    error = jnp.mean(jnp.sum((hidden @ params[-1] - batch[1]) ** 2, axis=1))
    return 30000 * error + sum(jnp.sum(kernel**2) for kernel in params) / 2


def optax_step(*links):
    """Return ``(state, step)`` of a chain of transformations."""
    tx = optax.chain(*links)

    @jax.jit
    def step(carry, batch):
        params, state = carry
        updates, state = tx.update(jax.grad(potential)(params, batch), state, params)
        return optax.apply_updates(params, updates), state

    params = init_params()
    return (params, tx.init(params)), step, 1


def peer_step(algorithm, rate, gradients):
    """Return the same of one of blackjax's samplers."""

    @jax.jit
    def step(carry, batch):
        params, key = carry
        key, own = jax.random.split(key)
        return algorithm.step(own, params, batch, rate), key

    return (init_params(), jax.random.key(0)), step, gradients


def contenders(rate=1e-9) -> dict[str, tuple[Any, Callable[..., Any], int]]:
    """Return starts, steps and gradients of a step, by name."""

    def gradient(params, batch):
        return jax.tree.map(jnp.negative, jax.grad(potential)(params, batch))

    noise = jd.sgmcmc.add_langevin_noise
    coins = noise(rate, distribution="binomial")
    return {
        "SGD, no noise": optax_step(optax.sgd(rate)),
        "SGLD, ours": optax_step(noise(rate), optax.sgd(rate)),
        "SGLD, ours, binomial noise": optax_step(coins, optax.sgd(rate)),
        "SGLD, `optax.add_noise`": optax_step(
            optax.add_noise(2 / rate, 0.0, 0), optax.sgd(rate)
        ),
        "SGLD, blackjax": peer_step(blackjax.sgld(gradient), rate, 1),
        "SGHMC, ours": optax_step(noise(rate, momentum=0.9), optax.sgd(rate, 0.9)),
        "SGHMC, blackjax": peer_step(blackjax.sghmc(gradient, LEAPS), rate**0.5, LEAPS),
    }


def show_times(rounds) -> None:
    """Print the second table."""
    rng = np.random.default_rng(1)
    batch = tuple(
        jnp.asarray(rng.standard_normal((128, 64)), jnp.float32) for _ in range(2)
    )
    steps = contenders()
    states = {name: start for name, (start, *_) in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, (_, step, gradients) in steps.items():
            begin = time.perf_counter()
            states[name] = jax.block_until_ready(step(states[name], batch))
            if number:  # the first compiles
                times[name].append((time.perf_counter() - begin) / gradients)
    print("| 1.07 million parameters | fastest, ms | median, ms | median / blackjax |")
    print("|---|---:|---:|---:|")
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, found in times.items():
        peer = f"{name.split(',')[0]}, blackjax"
        ratio = f"{medians[name] / medians[peer]:.2f}" if peer in medians else ""
        row = f"| {name} | {1e3 * min(found):.1f} | {1e3 * medians[name]:.1f} "
        print(row + f"| {ratio} |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    options = parser.parse_args()
    show_variances()
    print()
    show_times(options.rounds)


if __name__ == "__main__":
    main()
