"""Train with AdaScale, and see how many workers are worth it at each moment.

python examples/diversity.py
python examples/diversity.py --workers 64 --local-batch 4
"""

import argparse

import datasets
import jax.numpy as jnp
import mlp
import numpy as np
import optax
import rich.console
import rich.table

import jaxdist as jd

AXIS, EVALUATIONS = "data", 8


def note(table, count, state, options, tests) -> None:
    """Add a row: what the gradients of the last steps say."""
    seen = jd.diversity_metrics(state.opt_state)
    labels = jnp.argmax(mlp.logits_of(state.params, tests[0]), axis=1)
    table.add_row(
        f"{count}",
        f"{float(state.opt_state.progress):.0f}",
        f"{float(seen.gain):.2f}",
        f"{float(seen.batch_size(options.local_batch)):.0f}",
        f"{float(jd.diagnostics.recommended_num_workers(seen)):.0f}",
        f"{float(jnp.mean(labels == tests[1])):.1%}",
    )


def main(arguments=None):
    """Train until the schedule of one worker ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=16, help="at least 2")
    parser.add_argument("--local-batch", type=int, default=8, help="images of a worker")
    parser.add_argument("--steps", type=int, default=2000, help="of one worker")
    parser.add_argument("--learning-rate", type=float, default=0.1, help="for one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.workers < 2:
        parser.error(f"`--workers` must be at least 2, got {options.workers}")
    dataset = datasets.load("digits")
    images, tests = (
        x.reshape(len(x), -1) for x in (dataset.train_images, dataset.test_images)
    )
    schedule = optax.cosine_decay_schedule(options.learning_rate, options.steps)
    tx = jd.adascale(AXIS, schedule, jd.aggregate(AXIS))
    init, step = jd.simulate(mlp.loss, tx, options.workers, AXIS)
    state = init(mlp.init(options.seed, images.shape[1], gain=2.0))
    rng = np.random.default_rng(options.seed)
    table = rich.table.Table()
    for heading in ("step", "of one worker", "gain", "batch size", "workers", "test"):
        table.add_column(heading, justify="right", no_wrap=True)
    count, shown = 0, 0
    while (progress := float(state.opt_state.progress)) < options.steps:
        chosen = rng.integers(len(images), size=options.workers * options.local_batch)
        state, _ = step(state, (images[chosen], dataset.train_labels[chosen]))
        count += 1
        if progress >= shown * options.steps / EVALUATIONS:
            note(table, count, state, options, (tests, dataset.test_labels))
            shown += 1
    note(table, count, state, options, (tests, dataset.test_labels))
    rich.console.Console().print(table)
    return state


if __name__ == "__main__":
    main()
