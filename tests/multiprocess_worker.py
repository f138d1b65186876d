"""One of two processes that train together; run by test_multiprocess.py."""

import sys

import jax
import numpy as np


def main(coordinator, process_id, target):
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(coordinator, 2, process_id)
    from tests import multiprocess_cases as cases

    results = {}
    mesh = jax.make_mesh(
        (cases.NUM_WORKERS,), (cases.AXIS,), axis_types=(jax.sharding.AxisType.Auto,)
    )
    for name, tx in cases.TRANSFORMATIONS.items():
        for check_vma in (True, False):
            out = cases.on_mesh(tx, mesh, check_vma)
            for leaf, value in out.items():
                results[f"{name}/{check_vma}/{leaf}"] = np.asarray(value)
    trained = cases.train_on_mesh(mesh)
    for leaf, value in trained.items():
        results[f"trained/{leaf}"] = np.asarray(value)
    results["drifted"] = np.array(cases.complaint_about_a_drifted_process(mesh))
    np.savez(f"{target}/process{process_id}.npz", **results)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
