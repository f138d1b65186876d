"""Train nodes that hear only their neighbours, some of which may lie.

python examples/gossip.py
python examples/gossip.py --nodes 16 --steps 500 --unequal 0.8
"""

import argparse
import dataclasses
import math
import pathlib

import datasets
import jax
import jax.numpy as jnp
import matplotlib
import mlp
import networkx
import numpy as np
import optax
import rich.console
import rich.table
import tqdm

import jaxdist as jd

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import matplotlib.ticker as ticker

AXIS, BATCH, LIARS, NEIGHBORS, EVALUATIONS = "node", 16, 2, 6, 25


@dataclasses.dataclass(frozen=True)
class Method:
    """How nodes come to agree."""

    topology: jd.gossip.Topology | None  # None: an all-reduce of gradients
    rule: jd.AggregationRule | None = None
    is_attacked: bool = False


@dataclasses.dataclass
class Run:
    """What the nodes reached at every evaluation."""

    steps: list[int] = dataclasses.field(default_factory=list)
    megabytes: list[float] = dataclasses.field(default_factory=list)  # of each node
    mean: list[float] = dataclasses.field(default_factory=list)  # of honest nodes
    worst: list[float] = dataclasses.field(default_factory=list)
    distance: list[float] = dataclasses.field(default_factory=list)


def random_graph(nodes: int, seed: int) -> networkx.Graph:
    """Return a connected graph in which all have equally many neighbours."""
    degree = min(NEIGHBORS, nodes - 1)
    for attempt in range(100):
        graph = networkx.random_regular_graph(degree, nodes, seed + attempt)
        if networkx.is_connected(graph):
            return networkx.relabel_nodes(graph, int)
    raise SystemExit(f"No connected graph of {nodes} nodes was found.")


def methods(nodes: int, graph: networkx.Graph) -> dict[str, Method]:
    """Return what is compared."""
    rows = max(n for n in range(1, math.isqrt(nodes) + 1) if nodes % n == 0)
    grid = jd.gossip.torus(rows, nodes // rows)
    random = jd.gossip.metropolis(graph)
    screened = jd.rules.trimmed_mean(LIARS)
    return {
        "all-reduce": Method(None),
        "ring": Method(jd.gossip.ring()),
        f"torus {rows} x {nodes // rows}": Method(grid),
        "one-peer exponential": Method(jd.gossip.one_peer_exponential()),
        f"random graph, {LIARS} lie": Method(random, is_attacked=True),
        f"the same, trimmed_mean({LIARS})": Method(random, screened, True),
    }


def lies(params, sender, receiver, key):
    """Let the first nodes tell each neighbour other random numbers."""
    del receiver  # the key is that of sender and receiver
    leaves, treedef = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.map(
        lambda lie, x: jnp.where(sender < LIARS, lie, x),
        treedef.unflatten(drawn),
        params,
    )


def optimizer(method: Method, rate: float):
    """Return the chain of a node: momentum of its own, then its neighbours."""
    momentum = jd.per_worker(AXIS, optax.sgd(rate, momentum=0.9))
    if method.topology is None:
        return optax.chain(jd.aggregate(AXIS), optax.sgd(rate, momentum=0.9))
    mixing = jd.mix_with_neighbors(
        AXIS,
        method.topology,
        rule=method.rule,
        order="adapt_then_combine",
        corrupt=lies if method.is_attacked else None,
    )
    return optax.chain(momentum, mixing)


@jax.jit
def accuracies(params, images, labels):
    """Return the accuracy of each node [W]."""
    logits = jax.vmap(mlp.logits_of, (0, None))(params, images)
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels[None], axis=1)


def shares(dataset: datasets.Dataset, options) -> np.ndarray:
    """Return which images each node holds [W, n], a part of them sorted by label."""
    rng = np.random.default_rng(options.seed)
    order = rng.permutation(len(dataset.train_labels))
    size = len(order) // options.nodes
    num_sorted = int(options.unequal * size) * options.nodes
    alike = order[:num_sorted]
    alike = alike[np.argsort(dataset.train_labels[alike], kind="stable")]
    other = order[num_sorted : size * options.nodes]
    parts = (part.reshape(options.nodes, -1) for part in (alike, other))
    return np.concatenate(list(parts), axis=1)


def train(name: str, method: Method, dataset, options) -> Run:
    """Train all nodes, and watch them on a progress bar."""
    images, tests = (
        x.reshape(len(x), -1) for x in (dataset.train_images, dataset.test_images)
    )
    tx = optimizer(method, options.learning_rate)
    params = mlp.init(options.seed, images.shape[1])
    report = jd.communication_report(tx, params, options.nodes)
    is_gossip = method.topology is not None
    init, step = jd.simulate(
        mlp.loss, tx, options.nodes, AXIS, per_worker_params=is_gossip
    )
    state, run = init(params), Run()
    held, rng = shares(dataset, options), np.random.default_rng(options.seed)
    times = set(np.geomspace(1, options.steps, EVALUATIONS).astype(int))
    with tqdm.trange(1, options.steps + 1, desc=f"{name:<30}", disable=None) as bar:
        for count in bar:
            picked = rng.integers(held.shape[1], size=(options.nodes, BATCH))
            chosen = np.take_along_axis(held, picked, axis=1).reshape(-1)
            batch = images[chosen], dataset.train_labels[chosen]
            state, _ = step(state, batch)
            if count in times or count == options.steps:
                honest = honest_nodes(state.params, method)
                note(run, count, honest, tests, dataset.test_labels, report)
                bar.set_postfix(
                    accuracy=f"{run.mean[-1]:.3f}", worst=f"{run.worst[-1]:.3f}"
                )
    return run


def honest_nodes(params, method):
    """Return the parameters of those that do not lie [n, ...]."""
    if method.topology is None:
        return jax.tree.map(lambda leaf: leaf[None], params)
    first = LIARS if method.is_attacked else 0
    return jax.tree.map(lambda leaf: leaf[first:], params)


def note(run, count, honest, images, labels, report):
    """Add an evaluation: of the mean of all honest nodes, and of the worst one."""
    center = jax.tree.map(lambda leaf: leaf[None], jd.average_params(honest))
    run.steps.append(count)
    run.megabytes.append(count * report.total_nbytes / 1e6)
    run.mean.append(float(accuracies(center, images, labels)[0]))
    run.worst.append(float(accuracies(honest, images, labels).min()))
    run.distance.append(float(jd.consensus_distance(honest)))


def show_table(runs: dict[str, Run]) -> None:
    """Print what every run reached: the mean of all nodes, and the worst node."""
    table = rich.table.Table()
    table.add_column("run", no_wrap=True)
    for heading in ("mean", "worst", "apart", "MB sent"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, run in runs.items():
        table.add_row(
            name,
            f"{run.mean[-1]:.1%}",
            f"{run.worst[-1]:.1%}",
            f"{run.distance[-1]:.3g}",
            f"{run.megabytes[-1]:,.1f}",
        )
    rich.console.Console().print(table)


def save_figure(runs: dict[str, Run], graph, path: pathlib.Path) -> None:
    """Draw accuracies, distances and the graph with the nodes that lie."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 8))
    (by_step, by_bytes), (apart, network) = axes
    for i, (name, run) in enumerate(runs.items()):
        style = {"color": f"C{i}", "linewidth": 1.8}
        for panel, places in ((by_step, run.steps), (by_bytes, run.megabytes)):
            panel.plot(places, run.mean, label=name, **style)
            panel.plot(places, run.worst, linestyle=":", **style)
        if max(run.distance) > 0:
            apart.plot(run.steps, run.distance, **style)
    by_step.set(xlabel="steps", ylabel="test accuracy; dotted: worst honest node")
    by_bytes.set(xlabel="MB sent by a node")
    apart.set(xlabel="steps", ylabel="distance of nodes from their mean", yscale="log")
    for panel in (by_step, by_bytes, apart):
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    colors = ["#d62728" if node < LIARS else "#9ecae1" for node in graph.nodes]
    places = networkx.circular_layout(graph)
    style = {"node_color": colors, "edge_color": "#bbbbbb", "with_labels": True}
    networkx.draw(graph, places, network, **style)
    network.set_title("the random graph; red nodes lie to each neighbour", fontsize=10)
    handles = by_step.get_legend_handles_labels()
    figure.legend(*handles, loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"Picture: {path}")


def main(arguments=None) -> dict[str, Run]:
    """Train all of them, and show them side by side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, default=16, help="at least 8")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument(
        "--unequal",
        type=float,
        default=0.5,
        help="share of the images of a node that are sorted by label, in [0, 1]",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=datasets.NAMES, default="digits")
    parser.add_argument("--data-dir", help="where the files of the data set are")
    parser.add_argument("--out", type=pathlib.Path, default="out/gossip.png")
    options = parser.parse_args(arguments)
    if options.nodes < 8 or options.steps < 1 or not 0 <= options.unequal <= 1:
        parser.error("`--nodes` must be at least 8, `--unequal` must lie in [0, 1].")
    dataset = datasets.load(options.data, options.data_dir)
    graph = random_graph(options.nodes, options.seed)
    runs = {
        name: train(name, method, dataset, options)
        for name, method in methods(options.nodes, graph).items()
    }
    show_table(runs)
    save_figure(runs, graph, options.out)
    return runs


if __name__ == "__main__":
    main()
