"""Compare seven ways to train with eight workers, on real data, in minutes."""

import argparse
import pathlib

import datasets
import results
import training

ATTACK = {"attack": "sign_flip", "attack_scale": 10.0, "byzantine": 2}
CONFIGS = {
    "dense mean": {},
    "top-1 %, feedback": {"compressor": "top_k"},
    "top-1 % both ways, feedback": {"compressor": "top_k", "downlink": "top_k"},
    "mean, 2 of 8 flip signs": ATTACK,
    "trimmed mean of signs, attacked": {
        **ATTACK,
        "rule": "trimmed_mean",
        "compressor": "sign",
    },
    "dense mean, 2 steps late": {"delay": 2},
    "pull to the leader": {"leader": 0.1},
}


def main(arguments=None) -> list[training.Run]:
    """Run all of them, and show them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", choices=datasets.NAMES, default="digits")
    parser.add_argument("--data-dir", help="where the files of the data set are")
    parser.add_argument("--out", type=pathlib.Path, default="out/demo.png")
    options = parser.parse_args(arguments)
    training.use_virtual_devices(8)
    dataset = datasets.load(options.data, options.data_dir)
    runs = []
    for name, changes in CONFIGS.items():
        config = training.Config(steps=options.steps, seed=options.seed, **changes)
        runs.append(training.train(name, config, dataset))
    results.show_table(runs)
    results.save_figure(runs, options.out)
    return runs


if __name__ == "__main__":
    main()
