"""Time ByzFL's rules, by numpy and by torch; print the seconds as JSON.

Runs in the environment of requirements-byzfl.txt.
"""

import importlib
import json
import sys

import rules_inputs
import torch

# The wheel of torchvision that PyPI has asks for operators of CUDA when imported.
_SCHEMAS = torch.library.Library("torchvision", "DEF")
_SCHEMAS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
_SCHEMAS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

byzfl = importlib.import_module("byzfl")  # only now

LARGEST = 2 * 10**6  # elements above which SMEA takes minutes


def rules(num_workers: int, f: int, size: int) -> dict:
    """Return ByzFL's rules that end in a reasonable time."""

    def then(before, rule):
        # Some overwrite what they are given.
        return lambda rows: rule(before(rows * 1))

    found = {
        "Average": byzfl.Average(),
        "Median": byzfl.Median(),
        "TrMean": byzfl.TrMean(f),
        "GeometricMedian": byzfl.GeometricMedian(),
        "Krum": byzfl.Krum(f),
        "MultiKrum": byzfl.MultiKrum(f),
        "CenteredClipping": byzfl.CenteredClipping(),
        "MoNNA": byzfl.MoNNA(f),
        "Meamed": byzfl.Meamed(f),
        "CAF": byzfl.CAF(f),
        "Clipping, Average": then(byzfl.Clipping(2.0), byzfl.Average()),
        "ARC, Average": then(byzfl.ARC(f), byzfl.Average()),
    }
    if num_workers * num_workers * size <= 3 * 10**8:  # its temporaries fill the memory
        found["NNM, Average"] = then(byzfl.NNM(f), byzfl.Average())
        found["NNM, TrMean"] = then(byzfl.NNM(f), byzfl.TrMean(f))
    if num_workers <= 16:
        found["MDA"] = byzfl.MDA(f)
        if num_workers * size <= LARGEST:
            found["SMEA"] = byzfl.SMEA(f)
    return found


def main(num_workers: int, f: int, size: int) -> None:
    """Measure all rules, by numpy and by torch."""
    torch.set_num_threads(1)
    numpy_rows = rules_inputs.rows(num_workers, f, size)
    inputs = {"numpy": numpy_rows, "torch": torch.from_numpy(numpy_rows)}
    # New objects for either: CenteredClipping keeps its last result in the object.
    results = {
        f"{name} {kind}": rules_inputs.measured(rule, rows)
        for kind, rows in inputs.items()
        for name, rule in rules(num_workers, f, size).items()
    }
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
