"""Time our rules on stacked gradients; print the seconds as JSON."""

import json
import sys

import jax
import jax.numpy as jnp
import rules_inputs

import jaxdist as jd


def rules(num_workers: int, f: int) -> dict:
    """Return our rules by the names of ByzFL's, with its conventions."""
    few = num_workers <= 16  # subsets are too many for anybody otherwise
    some = {
        "MDA": jd.minimum_diameter(f),
        "SMEA": jd.smea(f),
    }
    return {
        "Average": jd.mean(),
        "Median": jd.median(),
        "TrMean": jd.trimmed_mean(f),
        "GeometricMedian": jd.geometric_median(),
        "Krum": jd.krum(f, neighbours="byzfl"),
        "MultiKrum": jd.multi_krum(f, neighbours="byzfl"),
        "CenteredClipping": jd.centered_clipping(100.0),
        "MoNNA": jd.monna(f),
        "Meamed": jd.meamed(f),
        "CAF": jd.caf(f),
        "NNM, Average": jd.nnm(f, then=jd.mean()),
        "NNM, TrMean": jd.nnm(f, then=jd.trimmed_mean(f)),
        "Clipping, Average": jd.clipping(2.0, then=jd.mean()),
        "ARC, Average": jd.arc(f, then=jd.mean()),
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
