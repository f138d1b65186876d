"""Sample a posterior over a network: chains on one axis of a mesh, data on the other.

python examples/sampling.py
python examples/sampling.py --chains 2 --workers 4 --late 2 --learning-rate 0.01

A logistic regression on scikit-learn's breast cancer data. Every worker holds a part of
the data; the workers of a chain send each other gradients of 8 bits. ArviZ says how
well the chains agree, and how many independent draws theirs are worth.
"""

import argparse

import arviz_base
import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import optax
import rich.console
import rich.table
from jax.sharding import NamedSharding, PartitionSpec
from sklearn import datasets

import jaxdist as jd

CHAIN, DATA = "chain", "data"
MOMENTUM, DEVIATION = 0.9, 0.5  # of the prior
TESTS, THINNING = 113, 20


def load():
    """Return features [n, 31] with a constant, and labels [n]: 456 and 113 of them."""
    found = datasets.load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(found.target))
    features = found.data[order]
    mean, deviation = features[TESTS:].mean(axis=0), features[TESTS:].std(axis=0)
    features = np.pad(
        (features - mean) / deviation, ((0, 0), (0, 1)), constant_values=1
    )
    features, labels = features.astype(np.float32), found.target[order]
    return (features[TESTS:], labels[TESTS:]), (features[:TESTS], labels[:TESTS])


def loss(weights, batch):
    """Return the mean of minus the log likelihood."""
    return optax.sigmoid_binary_cross_entropy(batch[0] @ weights, batch[1]).mean()


def make_sampler(options, num_data):
    """Return the optimizer of one worker of one chain."""
    quantizer = jd.compression.qsgd(bits=8)
    links = [jd.aggregate(DATA, compressor=quantizer)]
    if options.late:
        links += [jd.delay_updates(options.late)]
    rate = options.learning_rate
    noise = jd.sgmcmc.add_langevin_noise(rate, 1 / num_data, MOMENTUM, key=options.seed)
    links += [
        optax.add_decayed_weights(1 / (DEVIATION**2 * num_data)),
        jd.per_worker(CHAIN, noise),
        optax.sgd(rate, MOMENTUM),
    ]
    return optax.chain(*links)


def largest_rate(features, late):
    """Return the rate up to which chains are stable, wherever they are."""
    products = features.T @ features / len(features)
    curvature = np.linalg.eigvalsh(products).max() / 4
    curvature += 1 / (DEVIATION**2 * len(features))
    return float(jd.sgmcmc.largest_learning_rate(curvature, MOMENTUM, late))


def sample(tx, batch, mesh, num_draws):
    """Return draws ``[chains, draws, weights]``."""

    def worker(batch):
        def step(_, carry):
            weights, state = carry
            gradients = jax.grad(loss)(weights, batch)
            updates, state = tx.update(gradients, state, weights)
            return optax.apply_updates(weights, updates), state

        def draw(carry, _):
            carry = jax.lax.fori_loop(0, THINNING, step, carry)
            return carry, carry[0]

        start = jnp.zeros(batch[0].shape[1])
        _, draws = jax.lax.scan(draw, (start, tx.init(start)), length=num_draws)
        return draws[None]

    spec = PartitionSpec(DATA)
    batch = jax.device_put(batch, NamedSharding(mesh, spec))
    mapped = jax.shard_map(
        worker,
        mesh=mesh,
        in_specs=((spec, spec),),
        out_specs=PartitionSpec(CHAIN),
        check_vma=False,  # all workers of a chain hold the same weights
    )
    return np.asarray(jax.jit(mapped)(batch))


def accuracy(draws, batch):
    """Return how often the mean of the draws' probabilities is right."""
    logits = np.einsum("nf,cdf->ncd", batch[0], draws)
    probabilities = jax.nn.sigmoid(logits).mean(axis=(1, 2))
    return float(np.mean((probabilities > 0.5) == batch[1]))


def main(arguments=None):
    """Sample, and print what ArviZ says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chains", type=int, default=4, help="at least 2")
    parser.add_argument("--workers", type=int, default=2, help="of each chain")
    parser.add_argument("--draws", type=int, default=1000, help="of each chain")
    parser.add_argument("--late", type=int, default=0, help="steps of gradients")
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.chains < 2:
        parser.error(f"`--chains` must be at least 2, got {options.chains}")
    jax.config.update("jax_num_cpu_devices", options.chains * options.workers)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    mesh = jax.make_mesh((options.chains, options.workers), (CHAIN, DATA))
    batch, tests = load()
    whole = len(batch[1]) // options.workers * options.workers
    batch = batch[0][:whole], batch[1][:whole]
    if options.learning_rate >= (limit := largest_rate(batch[0], options.late)):
        parser.error(
            f"`--learning-rate` must be below {limit:.2g} with `--late` "
            f"{options.late}, got {options.learning_rate}"
        )
    warm_up = options.draws // 4
    draws = sample(make_sampler(options, whole), batch, mesh, warm_up + options.draws)
    draws = draws[:, warm_up:]
    found = arviz_base.from_dict({"posterior": {"weights": draws}})
    summary = arviz_stats.summary(found, round_to="none")
    table = rich.table.Table()
    for heading in ("weight", "mean", "deviation", "R-hat", "effective draws"):
        table.add_column(heading, justify="right", no_wrap=True)
    widest = summary.sort_values("ess_bulk").index
    for name in (*widest[:3], *widest[-3:]):
        row = summary.loc[name]
        cells = row["mean"], row["sd"], row["r_hat"], row["ess_bulk"]
        shown = [f"{cells[0]:+.2f}", f"{cells[1]:.2f}", f"{cells[2]:.3f}"]
        table.add_row(name, *shown, f"{cells[3]:.0f}")
    rich.console.Console(width=100).print(table)
    print(
        f"{options.chains} chains of {options.draws} draws: R-hat at most "
        f"{summary['r_hat'].max():.3f}, at least {summary['ess_bulk'].min():.0f} "
        f"effective draws; {accuracy(draws, tests):.1%} of the tests right"
    )


if __name__ == "__main__":
    main()
