"""Train a small network through compressed, attacked and delayed gradients.

python examples/train.py --compressor top_k --density 0.01
python examples/train.py --rule arc+nnm+trimmed_mean --attack mimic --byzantine 2
python examples/train.py --leader 0.1 --period 4 --backend vmap --workers 16
"""

import argparse
import dataclasses
import pathlib
import re

import choices
import datasets
import results
import training


def parse(arguments=None) -> argparse.Namespace:
    """Read the command line; every field of Config is a flag."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    allowed = {
        "compressor": training.COMPRESSORS,
        "downlink": training.COMPRESSORS,
        "attack": training.ATTACKS,
        "backend": training.BACKENDS,
    }
    helps = {
        "compressor": "what each worker sends, with error feedback",
        "downlink": "what travels back on the route scatter",
        "density": "kept share of the elements, for top_k and random_k",
        "rule": f"how the workers' gradients become one: {', '.join(choices.RULES)}; "
        f"before it {', '.join(choices.BEFORE)}, joined by '+'",
        "attack": "what Byzantine workers send",
        "attack_scale": "factor or standard deviation of the attacks that have one",
        "radius": "of centered_clipping and clipping, deviation of spectral_filter",
        "byzantine": "how many workers attack, and how many the rule tolerates",
        "delay": "steps by which gradients are late",
        "leader": "strength of the pull to the leader; replaces the aggregation",
        "period": "steps from one pull to the next",
        "batch_size": "images per worker and step",
        "backend": "how workers are mapped; vmap simulates them on one device",
        "workers": "how many there are",
        "steps": "of the optimizer",
        "seed": "of everything that is drawn",
        "learning_rate": "of Adam in the first step; decays along a cosine to 0",
    }
    for field in dataclasses.fields(training.Config):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=float if field.default is None else type(field.default),
            default=field.default,
            choices=allowed.get(field.name),
            help=f"{helps[field.name]} (default: %(default)s)",
        )
    parser.add_argument(
        "--data",
        choices=datasets.NAMES,
        default="digits",
        help="what to learn (default: %(default)s)",
    )
    parser.add_argument("--data-dir", help="where the files of the data set are")
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        help="the picture (default: out/train-..., named by the other flags)",
    )
    return parser.parse_args(arguments)


def picture_name(config: training.Config, data: str) -> pathlib.Path:
    """Return a path that says what was trained, so that no run hides another."""
    fields = dataclasses.fields(config)
    chosen = {field.name: getattr(config, field.name) for field in fields}
    words = [f"{k}={chosen[k]}" for k in chosen if chosen[k] != getattr(_USUAL, k)]
    name = "-".join(["train", data, *words]).replace("_", "")
    return pathlib.Path("out") / f"{re.sub('[^A-Za-z0-9=.+-]', '', name)}.png"


_USUAL = training.Config()


def main(arguments=None) -> training.Run:
    """Train once, and show what came of it."""
    options = vars(parse(arguments))
    data, folder, out = (options.pop(name) for name in ("data", "data_dir", "out"))
    config = training.Config(**options)
    try:
        training.check(config)
        training.use_virtual_devices(config.workers)
        run = training.train("this run", config, datasets.load(data, folder))
    except ValueError as error:
        raise SystemExit(f"These options do not go together: {error}") from None
    print(run.report)
    results.show_table([run])
    results.save_figure([run], out or picture_name(config, data))
    return run


if __name__ == "__main__":
    main()
