"""Time our rules on stacked gradients; print the seconds as JSON."""

import json
import sys

import jax
import jax.numpy as jnp
import rules_inputs

import jaxdist as jd


def rules(num_workers: int, f: int) -> dict:
    """Return our rules by the names of ByzFL's, with its conventions."""
    few = num_workers <= 16  # more workers have too many subsets
    some = {
        "MDA": jd.rules.minimum_diameter(f),
        "SMEA": jd.rules.smea(f),
    }
    return {
        "Average": jd.rules.mean(),
        "Median": jd.rules.median(),
        "TrMean": jd.rules.trimmed_mean(f),
        "GeometricMedian": jd.rules.geometric_median(),
        "Krum": jd.rules.krum(f, neighbours="byzfl"),
        "MultiKrum": jd.rules.multi_krum(f, neighbours="byzfl"),
        "CenteredClipping": jd.rules.centered_clipping(100.0),
        "MoNNA": jd.rules.monna(f),
        "Meamed": jd.rules.meamed(f),
        "CAF": jd.rules.caf(f),
        "NNM, Average": jd.rules.nnm(f, then=jd.rules.mean()),
        "NNM, TrMean": jd.rules.nnm(f, then=jd.rules.trimmed_mean(f)),
        "Clipping, Average": jd.rules.clipping(2.0, then=jd.rules.mean()),
        "ARC, Average": jd.rules.arc(f, then=jd.rules.mean()),
        **(some if few else {}),
    }


def main(num_workers: int, f: int, size: int) -> None:
    """Measure a mean by NumPy, and all rules."""
    numpy_rows = rules_inputs.rows(num_workers, f, size)
    results = {
        "numpy mean": rules_inputs.measured(lambda x: x.mean(axis=0), numpy_rows)
    }
    rows = jnp.asarray(numpy_rows)
    for name, rule in rules(num_workers, f).items():
        results[name] = rules_inputs.measured(jax.jit(rule), rows)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
