"""Compare rounds of DiLoCo with DrJAX's: parameters, seconds, memory.

python benchmarks/peers/rounds.py, in the environment of requirements-drjax.txt

Both start alike, see the same batches, and take turns. DrJAX maps a worker's steps over
the workers and reduces their displacements; ours is ``simulate(..., outer=)``.
"""

import argparse
import statistics
import time

import drjax
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxdist as jd

WORKERS, STEPS, BATCH, INPUTS = 8, 10, 16, 32
INNER = optax.sgd(0.003, momentum=0.9)
SLOW = optax.sgd(0.7, momentum=0.9, nesterov=True)


def loss(params, batch):
    """Return the mean squared error of an MLP."""
    inputs, targets = batch
    hidden = jnp.tanh(inputs @ params["first"])
    return jnp.mean((hidden @ params["second"] - targets) ** 2)


def init_params(width):
    """Return the same parameters for both."""
    rng = np.random.default_rng(0)
    shapes = {"first": (INPUTS, width), "second": (width, 1)}
    return {
        name: jnp.asarray(rng.standard_normal(shape) / shape[0] ** 0.5, jnp.float32)
        for name, shape in shapes.items()
    }


def batches(number):
    """Return a round's batches of all workers, ``[H, W * b, ...]``."""
    rng = np.random.default_rng(number)
    inputs = rng.standard_normal((STEPS, WORKERS * BATCH, INPUTS)).astype(np.float32)
    return jnp.asarray(inputs), jnp.asarray(np.sin(inputs[..., :1]))


def ours():
    """Return ``(init, step, params of a state)``."""
    outer = optax.chain(jd.aggregate("worker"), SLOW)
    init, step = jd.simulate(
        *(loss, INNER, WORKERS, "worker"), outer=outer, inner_state="reset"
    )
    return init, lambda state, batch: step(state, batch)[0], lambda s: s.params


def theirs():
    """Return the same of DrJAX."""

    def walk(start, own):
        def step(carried, batch):
            params, state = carried
            updates, state = INNER.update(jax.grad(loss)(params, batch), state, params)
            return (optax.apply_updates(params, updates), state), None

        (end, _), _ = jax.lax.scan(step, (start, INNER.init(start)), own)
        return jax.tree.map(jnp.subtract, start, end)

    @drjax.program(placements={"clients": WORKERS})
    def train(state, parts):
        params, slow = state
        moved = drjax.map_fn(walk, (drjax.broadcast(params), parts))
        mean = drjax.reduce_mean(moved)
        updates, slow = SLOW.update(mean, slow, params)
        return optax.apply_updates(params, updates), slow

    @jax.jit
    def step(state, batch):
        def split(leaf):
            shape = STEPS, WORKERS, BATCH, *leaf.shape[2:]
            return jnp.moveaxis(leaf.reshape(shape), 1, 0)

        return train(state, jax.tree.map(split, batch))

    return lambda params: (params, SLOW.init(params)), step, lambda state: state[0]


def measure(width, rounds):
    """Return the medians of both, and how far their parameters are apart."""
    sides = {"jaxdist": ours(), "drjax": theirs()}
    states = {name: init(init_params(width)) for name, (init, *_) in sides.items()}
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        batch = batches(number)
        for name, (_, step, _) in sides.items():
            start = time.perf_counter()
            states[name] = jax.block_until_ready(step(states[name], batch))
            if number:  # the first compiles
                times[name].append(time.perf_counter() - start)
    ends = [params_of(states[name]) for name, (*_, params_of) in sides.items()]
    apart = jax.tree.map(lambda x, y: float(jnp.max(jnp.abs(x - y))), *ends)
    medians = {name: statistics.median(found) for name, found in times.items()}
    return medians, max(jax.tree.leaves(apart))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    print("| parameters | jaxdist, ms | drjax, ms | ratio | largest difference |")
    print("|---:|---:|---:|---:|---:|")
    for width in (64, 4096):
        found, apart = measure(width, options.rounds)
        own, other = (1e3 * found[name] for name in ("jaxdist", "drjax"))
        size = width * (INPUTS + 1)
        print(
            f"| {size:,} | {own:.1f} | {other:.1f} | {own / other:.2f} | {apart:.0e} |"
        )


if __name__ == "__main__":
    main()
