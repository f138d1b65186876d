"""Train a small network through compressed, attacked and delayed gradients.

python examples/train.py --compressor top_k --density 0.01
python examples/train.py --rule trimmed_mean --attack sign_flip --byzantine 2
python examples/train.py --leader 0.1 --period 4 --backend vmap --workers 16
"""

import argparse
import dataclasses
import pathlib

import datasets
import results
import training


def parse(arguments=None) -> argparse.Namespace:
    """Read the command line; every field of Config is a flag."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choices = {
        "compressor": training.COMPRESSORS,
        "downlink": training.COMPRESSORS,
        "rule": training.RULES,
        "attack": training.ATTACKS,
        "backend": training.BACKENDS,
    }
    helps = {
        "compressor": "what each worker sends, with error feedback",
        "downlink": "what travels back on the route scatter",
        "density": "kept share of the elements, for top_k and random_k",
        "rule": "how the workers' gradients become one",
        "attack": "what Byzantine workers send",
        "attack_scale": "factor or standard deviation of the attack",
        "byzantine": "how many workers attack, and how many the rule tolerates",
        "delay": "steps by which gradients are late",
        "leader": "strength of the pull to the leader; replaces the aggregation",
        "period": "steps from one pull to the next",
        "batch_size": "images per worker and step",
        "learning_rate": "of Adam in the first step; decays along a cosine to 0",
    }
    for field in dataclasses.fields(training.Config):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            choices=choices.get(field.name),
            help=f"{helps.get(field.name, field.name)} (default: %(default)s)",
        )
    parser.add_argument("--data", choices=datasets.NAMES, default="digits")
    parser.add_argument("--data-dir", help="where the files of the data set are")
    parser.add_argument("--out", type=pathlib.Path, default="out/train.png")
    return parser.parse_args(arguments)


def main(arguments=None) -> training.Run:
    """Train once, and show what came of it."""
    options = vars(parse(arguments))
    data, folder, out = (options.pop(name) for name in ("data", "data_dir", "out"))
    config = training.Config(**options)
    training.use_virtual_devices(config.workers)
    try:
        run = training.train("this run", config, datasets.load(data, folder))
    except ValueError as error:
        raise SystemExit(f"These options do not go together: {error}") from None
    print(run.report)
    results.show_table([run])
    results.save_figure([run], out)
    return run


if __name__ == "__main__":
    main()
