"""From the words of a command line to a trained model and what it cost."""

import dataclasses

import choices
import datasets
import jax
import jax.numpy as jnp
import model
import numpy as np
import optax
import tqdm

import jaxdist as jd

AXIS = "worker"
COMPRESSORS = ("none", "top_k", "random_k", "sign", "qsgd", "bfloat16")
ATTACKS = ("none", *choices.ATTACKS)
BACKENDS = ("shard_map", "pmap", "vmap")


@dataclasses.dataclass(frozen=True)
class Config:
    """One training run."""

    compressor: str = "none"
    downlink: str = "none"
    density: float = 0.01
    rule: str = "mean"
    attack: str = "none"
    attack_scale: float | None = None
    byzantine: int = 0
    radius: float = 1.0
    delay: int = 0
    leader: float = 0.0
    period: int = 1
    backend: str = "shard_map"
    workers: int = 8
    batch_size: int = 16
    learning_rate: float = 3e-3
    steps: int = 1000
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run reached, at every evaluation and in the end."""

    name: str
    report: jd.CommunicationReport
    steps: list[int]
    accuracies: list[float]
    megabytes: list[float]  # sent by each worker so far


def use_virtual_devices(workers: int) -> None:
    """Split the CPU into as many devices as there are workers; call it first."""
    jax.config.update("jax_num_cpu_devices", workers)
    # With more devices than cores, steps dispatched ahead wait for each other.
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def compressor(name: str, density: float) -> jd.compression.LeafPolicy | None:
    """Return the compressor for all but biases and small leaves, with feedback."""
    if name == "none":
        return None
    if name == "bfloat16":
        return jd.compression.by_leaf(jd.compression.cast(jnp.bfloat16))
    chosen = {
        "top_k": jd.compression.top_k(density, block_size=4096),
        "random_k": jd.compression.contractive(jd.compression.random_k(density)),
        "sign": jd.compression.scaled_sign(),
        "qsgd": jd.compression.qsgd(bits=8),
    }[name]
    return jd.compression.by_leaf(jd.compression.error_feedback(chosen))


def rule(config: Config) -> jd.AggregationRule:
    """Return how W gradients become one."""
    return choices.make_rule(config.rule, config.byzantine, config.radius)


def check(config: Config) -> None:
    """Raise for values out of range, and for options that would be ignored."""
    least = {"workers": 1, "steps": 1, "batch_size": 1, "period": 1}
    least |= {"byzantine": 0, "delay": 0, "seed": 0, "leader": 0.0}
    for name, low in least.items():
        if getattr(config, name) < low:
            raise ValueError(
                f"`{name}` must be at least {low}, got {getattr(config, name)}."
            )
    if not config.learning_rate > 0:
        raise ValueError(
            f"`learning_rate` must be above 0, got {config.learning_rate}."
        )
    replaced = {"rule": "mean", "compressor": "none", "downlink": "none"}
    for name, default in replaced.items():
        if config.leader and getattr(config, name) != default:
            raise ValueError(
                f"`leader` replaces the aggregation, so `{name}` would do nothing."
            )
    if config.attack != "none" and not config.byzantine:
        raise ValueError("`attack` needs `byzantine`, the number of attackers.")


def optimizer(config: Config) -> optax.GradientTransformationExtraArgs:
    """Chain what happens to the gradients on their way from worker to worker."""
    check(config)
    adam = optax.adam(optax.cosine_decay_schedule(config.learning_rate, config.steps))
    links = []
    if config.delay:
        links.append(jd.per_worker(AXIS, jd.delay_updates(config.delay)))
    if config.attack != "none":
        attack = choices.make_attack(config.attack, config.attack_scale, rule(config))
        links.append(jd.inject_attack(AXIS, attack, config.byzantine, config.seed))
    if config.leader:
        links.append(jd.per_worker(AXIS, adam))
        links.append(jd.pull_to_leader(AXIS, config.leader, config.period))
    else:
        links.append(
            jd.aggregate(
                AXIS,
                rule(config),
                compressor(config.compressor, config.density),
                downlink=compressor(config.downlink, config.density),
                key=config.seed,
            )
        )
        links.append(adam)
    return optax.chain(*links)


def steps_of(config: Config, tx: optax.GradientTransformationExtraArgs):
    """Return ``(init, step)`` of the backend."""
    options = {"has_aux": True, "per_worker_params": bool(config.leader)}
    if config.backend == "vmap":
        return jd.simulate(model.loss, tx, config.workers, AXIS, **options)
    if jax.device_count() < config.workers:
        raise ValueError(
            f"{config.workers} workers need as many devices, and there are "
            f"{jax.device_count()}: take fewer, or `--backend vmap`."
        )
    if config.backend == "pmap":
        return _pmapped(config, tx)
    mesh = jax.make_mesh((config.workers,), (AXIS,))
    return jd.data_parallel(model.loss, tx, mesh, AXIS, **options)


def _pmapped(config, tx):
    """Map the step of one worker with pmap; every leaf is [W, ...]."""
    step = jax.pmap(
        jd.local_step(model.loss, tx, AXIS, has_aux=True), AXIS, donate_argnums=0
    )

    def init(params):
        def copy(leaf):
            return np.broadcast_to(leaf, (config.workers, *leaf.shape))

        params = jax.tree.map(copy, params)
        return jax.pmap(lambda p: jd.TrainState(p, tx.init(p)), AXIS)(params)

    def split_step(state, batch):
        parts = jax.tree.map(
            lambda x: x.reshape(config.workers, -1, *x.shape[1:]), batch
        )
        state, metrics = step(state, parts)
        return state, jax.tree.map(lambda x: x[0], metrics)

    return init, split_step


def consensus(config: Config, state: jd.TrainState):
    """Return the parameters to test: all workers', or the mean of their own."""
    if config.leader or config.backend == "pmap":
        return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), state.params)
    return state.params


def train(
    name: str, config: Config, dataset: datasets.Dataset, evaluations: int = 20
) -> Run:
    """Train, and watch loss, accuracy and bytes on a progress bar."""
    tx = optimizer(config)
    params = model.init(config.seed, dataset.train_images)
    report = jd.communication_report(tx, params, config.workers)
    init, step = steps_of(config, tx)
    state = init(params)
    run = Run(name, report, [], [], [])
    # Closer together in the beginning, where the curves part.
    tested_at = set(np.geomspace(1, config.steps, evaluations).astype(int))
    stream = datasets.batches(dataset, config.workers * config.batch_size, config.seed)
    # A log that is no terminal would be flooded by the bar.
    steps = range(1, config.steps + 1)
    with tqdm.tqdm(steps, desc=f"{name:<34}", unit="step", disable=None) as bar:
        for count in bar:
            state, metrics = step(state, next(stream))
            if count not in tested_at and count != config.steps:
                continue
            # On the way a thousand images will do; in the end, all of them.
            some = slice(None if count == config.steps else 1000)
            tested = model.accuracy(
                consensus(config, state),
                dataset.test_images[some],
                dataset.test_labels[some],
            )
            run.steps.append(count)
            run.accuracies.append(float(tested))
            run.megabytes.append(count * report.total_nbytes / 1e6)
            bar.set_postfix(
                loss=f"{float(metrics['loss']):.3f}",
                accuracy=f"{run.accuracies[-1]:.3f}",
                MB=f"{run.megabytes[-1]:.1f}",
            )
    return run
