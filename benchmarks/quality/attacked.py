"""Train 0/1 Adam while two of eight workers lie: accuracies next to honest ones.

    PYTHONPATH=examples python -m benchmarks.quality.attacked \
        docs/_static/optimizers_attacked.json docs/_optimizers_attacked.md

The rule is there in honest runs too. Liars craft what they send, be it a gradient or
a momentum, before it is compressed. What the file has is not trained again.
"""

import argparse
import functools
import itertools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxdist as jd
from benchmarks.quality import problem
from jaxdist.optimizers import _zero_one_adam

AXIS, SEEDS, BYZANTINE = problem.AXIS, (0, 1, 2), 2
RATE, DECAY = 4e-3, 0.9  # the best rate of `optimizers.json`; of the momentum
TRIM = jd.rules.trimmed_mean(BYZANTINE)
RULES = {
    "`trimmed_mean(2)`": TRIM,
    "`nnm(2, then=trimmed_mean(2))`": jd.rules.nnm(BYZANTINE, then=TRIM),
}
ATTACKS = {
    "nobody lies": lambda rule: None,
    "sign flip": lambda rule: jd.attacks.sign_flip(),
    "sign flip, tenfold": lambda rule: jd.attacks.sign_flip(10.0),
    "a little is enough, optimal": jd.attacks.optimal_a_little_is_enough,
    "inner product manipulation, optimal": (
        jd.attacks.optimal_inner_product_manipulation
    ),
}


def lie_about_momenta(tx, attack):
    """Let liars craft what they send: a momentum, or in refreshes a gradient."""
    lies = jd.inject_attack(AXIS, attack, BYZANTINE)
    refreshes = _zero_one_adam.doubling_periods(16, None)

    def init(params):
        return tx.init(params), lies.init(params)

    def update(updates, state, params=None):
        state, lies_state = state
        # What is known of what a worker sends: in refreshes nothing.
        share = jnp.where(refreshes.is_due(state.count), 0.0, DECAY)
        known = jax.tree.map(lambda m: share * m, state.momentum)
        wanted = jax.tree.map(lambda m, g: m + (1 - share) * g, known, updates)
        sent, lies_state = lies.update(wanted, lies_state)
        crafted = jax.tree.map(lambda x, m: (x - m) / (1 - share), sent, known)
        updates, state = tx.update(crafted, state, params)
        return updates, (state, lies_state)

    return optax.GradientTransformation(init, update)


def optimizer(rate, rule, attack):
    """Return 0/1 Adam with a rule, and with liars where there is an attack."""
    tx = jd.optimizers.zero_one_adam(AXIS, rate, DECAY, rule=rule)
    return tx if attack is None else lie_about_momenta(tx, attack)


def train_all(path, data, rules=tuple(RULES), attacks=tuple(ATTACKS)):
    """Train what the file does not have yet."""
    found = json.loads(path.read_text()) if path.exists() else {}
    for name, attack_name in itertools.product(rules, attacks):
        rule = RULES[name]
        method = functools.partial(
            optimizer, rule=rule, attack=ATTACKS[attack_name](rule)
        )
        runs = found.setdefault(name, {}).setdefault(attack_name, {})
        train = problem.trainer(method, data)
        for seed in map(str, SEEDS):
            if seed not in runs:
                begun = time.monotonic()
                runs[seed] = train(RATE, int(seed))
                path.write_text(json.dumps(found, indent=1))
                seconds = time.monotonic() - begun
                print(f"{name}, {attack_name}, {seed}: {runs[seed]} ({seconds:.0f} s)")
    return found


def table_of(found):
    """Return the table in Markdown."""
    lines = [f"| two of eight | {' | '.join(RULES)} |"]
    lines.append("|---" + "|---:" * len(RULES) + "|")
    for attack_name in ATTACKS:
        cells = []
        for name in RULES:
            seen = [100 * found[name][attack_name][str(seed)][0] for seed in SEEDS]
            cells.append(f"{np.mean(seen):.1f} ± {np.std(seen):.1f} %")
        lines.append(f"| {attack_name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main():
    """Train, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("--data-dir", help="with the files of Fashion-MNIST")
    options = parser.parse_args()
    found = train_all(options.results, problem.load(options.data_dir))
    options.table.write_text(table_of(found))


if __name__ == "__main__":
    main()
