"""Simulate samplers whose exact law is known, alone and over a network.

python benchmarks/papers/sampling.py

The first table has eleven chains of optax on a Bayesian linear regression of 100
examples, and their exact traces; the ratios are means of 4000 chains of float32 with
their standard errors. The second has eight workers that sample together, with
compressors and rules between them: what the trace of the covariance becomes, compared
with the exact trace of the plain mean, and how far the mean of the chain is from that
of the posterior. The last two are the claims of two papers: exact traces for growing
data, and what late gradients do to an average over a chain. The text of
docs/sampling.md has all of them.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxdist as jd

CHAINS, STEPS, BURN_IN = 4000, 1000, 200


class Regression(NamedTuple):
    """Examples of a linear regression with a standard normal prior and noise."""

    x: np.ndarray  # [N, d]
    y: np.ndarray  # [N]

    @property
    def hessians(self):
        """Of each example ``[N, d, d]``."""
        return self.x[:, :, None] * self.x[:, None, :]

    @property
    def precision(self):
        """Of the posterior ``[d, d]``."""
        return self.hessians.sum(0) + np.eye(self.x.shape[1])

    @property
    def mode(self):
        """Of the posterior ``[d]``, its mean too."""
        return np.linalg.solve(self.precision, self.x.T @ self.y)

    @property
    def gradients(self):
        """At the mode, of each example ``[N, d]``."""
        return self.x * (self.x @ self.mode - self.y)[:, None]


def draw_regression(number, size, seed):
    """Return a regression of normal numbers."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((number, size))
    return Regression(x, x @ np.ones(size) + rng.standard_normal(number))


class Chain(NamedTuple):
    """A sampler, and what its law depends on."""

    learning_rate: float  # in units of 1/N
    momentum: float = 0.0
    batch_size: int | None = None
    delay: int = 0
    temperature: float = 1.0
    control_variate: bool = False
    distribution: str = "normal"

    def exact_covariance(self, model):
        """Return the covariance of the parameters in the end."""
        return jd.testing.stationary_covariance(
            model.hessians,
            self.learning_rate / len(model.x),
            gradients=model.gradients,
            prior=np.eye(model.x.shape[1]),
            momentum=self.momentum,
            batch_size=self.batch_size,
            delay=self.delay,
            temperature=self.temperature,
            control_variate=self.control_variate,
        )


CASES = {
    "LMC (full gradient)": Chain(0.5),
    "SGLD": Chain(0.5, batch_size=10),
    "SGLD with a control variate": Chain(0.5, batch_size=10, control_variate=True),
    "SGD": Chain(0.5, batch_size=10, temperature=0.0),
    "SGHMC, full gradient": Chain(0.1, 0.9),
    "SGHMC": Chain(0.1, 0.9, 10),
    "SGHMC with a control variate": Chain(0.1, 0.9, 10, control_variate=True),
    "SGLD, 2 steps late": Chain(0.1, 0.0, 10, 2),
    "SGLD with a control variate, 5 late": Chain(0.1, 0, 10, 5, control_variate=True),
    "SGHMC, 2 steps late": Chain(0.025, 0.9, 10, 2),
    "SGLD, binomial noise": Chain(0.5, batch_size=10, distribution="binomial"),
}


def optimizer(chain: Chain, model: Regression, key):
    """Return the chain of transformations."""
    rate = chain.learning_rate / len(model.x)
    links: list[Any] = []
    if chain.control_variate:
        links.append(jd.sgmcmc.control_variate(jnp.zeros(model.x.shape[1])))
    links += [
        jd.delay_updates(chain.delay),
        jd.sgmcmc.add_langevin_noise(
            *(rate, chain.temperature, chain.momentum, key),
            distribution=chain.distribution,
        ),
        optax.sgd(rate, momentum=chain.momentum or None),
    ]
    return optax.chain(*links)


def examples_of_step(chain, model, key):
    """Return which examples a step looks at, and with which factor."""
    number = len(model.x)
    if chain.batch_size is None:
        return jnp.arange(number)
    return jax.random.randint(key, (chain.batch_size,), 0, number)


def run_chain(chain: Chain, model: Regression, key, steps, burn_in):
    """Return the mean squared distance of one chain from the mode."""
    x, y = jnp.asarray(model.x, jnp.float32), jnp.asarray(model.y, jnp.float32)
    mode = jnp.asarray(model.mode, jnp.float32)
    noise_key, batch_key = jax.random.split(key)
    tx = optimizer(chain, model, noise_key)

    def gradient(params, chosen):
        rows, targets = x[chosen], y[chosen]
        pull = rows.T @ (rows @ params - targets)
        return params + len(x) / len(chosen) * pull

    def step(carry, count):
        params, state, total = carry
        chosen = examples_of_step(chain, model, jax.random.fold_in(batch_key, count))
        updates, state = tx.update(
            gradient(params, chosen),
            state,
            params,
            reference_updates=gradient(mode, chosen),
        )
        params = optax.apply_updates(params, updates)
        total += jnp.where(count >= burn_in, jnp.sum((params - mode) ** 2), 0)
        return (params, state, total), None

    start = mode, tx.init(mode), jnp.zeros(())
    (_, _, total), _ = jax.lax.scan(step, start, jnp.arange(steps))
    return total / (steps - burn_in)


def measure(chain, model, chains=CHAINS, steps=STEPS, burn_in=BURN_IN, seed=0):
    """Return the exact trace, and the simulated one over it with its standard error."""
    exact = np.trace(chain.exact_covariance(model))
    keys = jax.random.split(jax.random.key(seed), chains)
    run = functools.partial(run_chain, chain, model, steps=steps, burn_in=burn_in)
    traces = np.asarray(jax.jit(jax.vmap(lambda key: run(key)))(keys)) / exact
    return exact, traces.mean(), traces.std() / np.sqrt(chains)


def show_chains():
    """Print the first table."""
    model = draw_regression(100, 2, 0)
    print("| chain | exact trace | simulated / exact | standard errors off |")
    print("|---|---:|---:|---:|")
    for name, chain in CASES.items():
        exact, ratio, error = measure(chain, model)
        row = f"| {name} | {exact:.5f} | {ratio:.4f} ± {error:.4f} "
        print(row + f"| {(ratio - 1) / error:+.1f} |", flush=True)


WORKERS = 8
TOP = jd.compression.top_k(0.2)
NETWORKS = {
    "plain mean": {},
    "`qsgd(8)`": {"compressor": jd.compression.qsgd(8)},
    "`qsgd(4)`": {"compressor": jd.compression.qsgd(4)},
    "`qsgd(2)`": {"compressor": jd.compression.qsgd(2)},
    "`error_feedback(scaled_sign())`": {
        "compressor": jd.compression.error_feedback(jd.compression.scaled_sign())
    },
    "`error_feedback(top_k(0.2))`": {"compressor": jd.compression.error_feedback(TOP)},
    "`ef21(top_k(0.2))`": {"compressor": jd.compression.ef21(TOP)},
    "5 steps late": {"delay": 5},
    "`trimmed_mean(1)`": {"rule": jd.rules.trimmed_mean(1)},
    "`geometric_median()`": {"rule": jd.rules.geometric_median()},
    "`median()`": {"rule": jd.rules.median()},
    "`multi_krum(2)`": {"rule": jd.rules.multi_krum(2)},
}


def run_network(model, key, rule=None, compressor=None, delay=0, steps=2500):
    """Return the mean parameters and the mean squared distance of one chain."""
    number, size = model.x.shape
    x = jnp.asarray(model.x.reshape(WORKERS, -1, size), jnp.float32)
    y = jnp.asarray(model.y.reshape(WORKERS, -1), jnp.float32)
    mode, rate = jnp.asarray(model.mode, jnp.float32), 0.1 / number
    route = "auto" if compressor is None and rule is None else "gather"
    tx = optax.chain(
        jd.aggregate("data", rule, compressor, route, key=key),
        jd.delay_updates(delay),
        jd.sgmcmc.add_langevin_noise(rate, key=key),
        optax.sgd(rate),
    )

    def worker(x, y):
        def step(carry, count):
            params, state, first, second = carry
            gradient = params + WORKERS * (x.T @ (x @ params - y))
            updates, state = tx.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
            off = jnp.where(count >= steps // 5, params - mode, 0)
            return (params, state, first + off, second + jnp.sum(off**2)), None

        zeros = jnp.zeros(size)
        start = mode, tx.init(mode), zeros, jnp.zeros(())
        (_, _, first, second), _ = jax.lax.scan(step, start, jnp.arange(steps))
        counted = steps - steps // 5
        return first / counted, second / counted

    first, second = jax.vmap(worker, axis_name="data")(x, y)
    return first[0], second[0]


def show_networks(chains=200):
    """Print the second table."""
    model = draw_regression(800, 10, 0)
    exact = np.trace(Chain(0.1).exact_covariance(model))
    deviation = np.sqrt(np.trace(np.linalg.inv(model.precision)))
    keys = jax.random.split(jax.random.key(1), chains)
    print("| between eight workers | trace / exact | mean off, in deviations |")
    print("|---|---:|---:|")
    for name, options in NETWORKS.items():
        run = functools.partial(run_network, model, **options)
        first, second = jax.jit(jax.vmap(lambda key, run=run: run(key)))(keys)
        off = np.asarray(first).mean(0)
        traces = (np.asarray(second) - (off**2).sum()) / exact
        error = traces.std() / np.sqrt(chains)
        away = np.linalg.norm(off) / deviation
        print(
            f"| {name} | {traces.mean():.3f} ± {error:.3f} | {away:.3f} |", flush=True
        )


def show_sizes(numbers=(100, 1000, 10000)):
    """Print the third table: exact traces with a rate of 0.5/N."""
    names = tuple(CASES)[:4]
    print("| examples | posterior | " + " | ".join(names) + " |")
    print("|---:|" + "---:|" * (len(names) + 1))
    for number in numbers:
        model = draw_regression(number, 2, 0)
        traces = [np.trace(np.linalg.inv(model.precision))]
        traces += [np.trace(CASES[name].exact_covariance(model)) for name in names]
        row = " | ".join(f"{1e3 * trace:.3g}" for trace in traces)
        print(f"| {number:,} | {row} |", flush=True)


def late_average(points, delay, rate, steps, key):
    """Return the mean of the squared parameter over one chain of SGLD."""
    noise_key, batch_key = jax.random.split(key)
    tx = optax.chain(
        jd.delay_updates(delay),
        jd.sgmcmc.add_langevin_noise(rate, key=noise_key),
        optax.sgd(rate),
    )

    def step(carry, count):
        value, state, total = carry
        own = jax.random.fold_in(batch_key, count)
        chosen = points[jax.random.randint(own, (10,), 0, len(points))]
        gradient = value + len(points) * (value - chosen.mean())
        updates, state = tx.update(gradient, state, value)
        value = optax.apply_updates(value, updates)
        return (value, state, total + value**2), None

    start = jnp.sum(points) / (len(points) + 1)
    carry = start, tx.init(start), jnp.zeros(())
    (_, _, total), _ = jax.lax.scan(step, carry, jnp.arange(steps))
    return total / steps


def show_late(chains=2000, rate=5e-5, steps=2000):
    """Print the fourth table: bias and variance of an average, by the delay."""
    points = np.random.default_rng(123).normal(0.5, 1, 1000)
    exact = (points.sum() / 1001) ** 2 + 1 / 1001
    points = jnp.asarray(points, jnp.float32)
    keys = jax.random.split(jax.random.key(2), chains)
    print("| steps late | bias, 1e-3 | variance, 1e-5 |")
    print("|---:|---:|---:|")
    for delay in (0, 1, 2, 5, 10, 20):
        run = functools.partial(late_average, points, delay, rate, steps)
        found = np.asarray(jax.jit(jax.vmap(lambda key, run=run: run(key)))(keys))
        bias, error = found.mean() - exact, found.std() / np.sqrt(chains)
        spread = 1e5 * found.var(ddof=1)
        row = f"{1e3 * bias:.1f} ± {1e3 * error:.1f} | {spread:.1f} "
        print(f"| {delay} | {row}± {spread * np.sqrt(2 / chains):.1f} |", flush=True)


if __name__ == "__main__":
    for show in (show_chains, show_networks, show_sizes, show_late):
        show()
        print()
