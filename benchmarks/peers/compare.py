"""Print our compressors and their peers as one Markdown table.

python benchmarks/peers/compare.py .venv-peers/bin/python

Each side runs in its own environment, in turn. Copies are multiples of a copy of the
same 40 MB to a new array, by the library that is faster at that.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
TIMEOUT = 600  # seconds for one process
PAIRS = [
    ("copy", "copy"),
    ("sign", "torch sign, np.packbits"),
    ("top-1 % of blocks", "torch.topk, 1 %"),
    ("top-1 %", "torch.topk, 1 %"),
    ("float16", "hivemind Float16"),
    ("int8", "hivemind Uniform8Bit"),
    ("int8", "hivemind Quantile8Bit"),
    ("int8", "torch quantize_per_tensor"),
    ("random 8 bits", "hivemind Uniform8Bit"),
    ("random 8 bits", "hivemind Quantile8Bit"),
    ("rotated sign", None),
]


def main() -> None:
    """Run both sides in turn, and print the best of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", help="interpreter of the peers' environment")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    # A link to the interpreter must stay one: it names the environment.
    peers = os.path.abspath(options.python)
    ours, theirs = [], []
    for _ in range(options.repeats):
        ours.append(_run(sys.executable, "ours.py", options.rounds))
        theirs.append(_run(peers, "theirs.py", options.rounds))
    _show(_best(ours), _best(theirs))


def _run(python, script, rounds):
    done = subprocess.run(
        [python, script, str(rounds)],
        cwd=HERE,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(HERE.parents[1])},
        stdout=subprocess.PIPE,
        check=True,
        timeout=TIMEOUT,
    )
    return json.loads(done.stdout)


def _best(runs) -> dict:
    """Return the least seconds of each method, and of the copy, over the runs."""
    results = runs[0]["results"]
    for name, result in results.items():
        result["seconds"] = min(run["results"][name]["seconds"] for run in runs)
    copy = min(run["copy"] for run in runs)
    results["copy"] = {"method": "a copy", "seconds": copy, "bytes": 4, "error": 0}
    return results


def _show(ours, theirs):
    copy = min(side["copy"]["seconds"] for side in (ours, theirs))
    print("| ours | ms | copies | bytes | error | peer | ms | bytes | error | faster |")
    print("|---|---:|---:|---:|---:|---|---:|---:|---:|---:|")
    for name, peer_name in PAIRS:
        mine = ours[name]
        copies = mine["seconds"] / copy
        line = f"| {mine['method']} | {_ms(mine)} | {copies:.1f} | {_loss(mine)} |"
        if peer_name is None:
            print(f"{line} | | | | |")
            continue
        peer = theirs[peer_name]
        faster = peer["seconds"] / mine["seconds"]
        peer = f"{peer['method']} | {_ms(peer)} | {_loss(peer)}"
        print(f"{line} {peer} | {faster:.1f}x |")


def _ms(result):
    return f"{result['seconds'] * 1e3:.1f}"


def _loss(result):
    return f"{result['bytes']:.3f} | {result['error']:.2g}"


if __name__ == "__main__":
    main()
