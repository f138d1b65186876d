"""What no public function takes: one row for each argument, found by its signature."""

import inspect
import types
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxdist as jd

MODULES = (jd, jd.compression, jd.rules, jd.attacks, jd.coding, jd.timing)
MODULES += (jd.gossip, jd.testing, jd.fragments, jd.optimizers)
MODULES += (jd.diagnostics, jd.sgmcmc, jd.sparsity, jd.contrib)
MODULES += (jd.contrib.symmetry,)
SEVERAL = np.ones(2, np.float32)

COUNT = ["x", 1.5, -1, True, [1], SEVERAL]
REAL = ["0.1", "x", float("nan"), [0.1], True, SEVERAL]
FLAG = ["no", 2, 0.5, SEVERAL]
CHOICE = ["nonsense", 3.5, ["x"], SEVERAL]
KEY = ["x", 1.5, [0], True, jax.random.split(jax.random.key(0), 3), SEVERAL]
DTYPE = ["foo", 3, int, SEVERAL]
AXIS = [3, (), ("data", "data"), ["data"], SEVERAL]
FUNCTION = [3, "x", SEVERAL]
POSITIVE = ["x", 1.0, True, [0.0], [-1.0], ["x"], [float("nan")], [[1.0]], [], [1.0]]
COMPRESSOR = [3, "x", jd.compression.top_k, jd.rules.mean(), SEVERAL]
RULE = [3, "x", jd.rules.median, jd.compression.top_k(0.1), SEVERAL]
OPTIMIZER = [3, "x", optax.sgd, SEVERAL]
MESH = [3, "x", SEVERAL]
PROTOCOL = [3, "x", jd.timing.k_async, jd.timing.exponential(), SEVERAL]
CODE = [3, "x", jd.coding.uncoded, SEVERAL]
FRAGMENTS = [3, "x", jd.fragments.strided, {"a": 0}, SEVERAL]
TOPOLOGY = [3, "x", jd.gossip.ring, SEVERAL]
MATRIX = [3, "x", SEVERAL, [[1.0, 2.0]], [[-1.0]], [[float("nan")]], [[[[1.0]]]]]
ATTACK = [3, "x", jd.attacks.sign_flip, SEVERAL]

BAD: dict[str, list[Any]] = {
    "action": [3, "x", jd.contrib.symmetry.rotation, SEVERAL],
    "adjacency": [*MATRIX, [[0, 1], [0, 0]], np.zeros((3, 3))],
    "argnums": ["x", 1.5, SEVERAL],
    "attack": ATTACK,
    "attacks": [3, [3]],
    "average": [*REAL, 0, 1.5],
    "average_compressor": COMPRESSOR,
    "axes": [3, "x", (0, 1), SEVERAL],
    "axis_name": AXIS,
    "b1": [*REAL, 1.0],
    "b2": [*REAL, 1.0],
    "basis": CHOICE,
    "batch": [3.0, {"a": 1.0}, np.ones(()), np.ones((0, 2)), (SEVERAL, np.ones(3))],
    "batch_size": [*COUNT, 0],
    "bin_width": [*REAL, 0, -1.0],
    "bits": [*COUNT, 4.0, 0],
    "block_size": [*COUNT, 0, 30.0],
    "blocks": [*COUNT, 0],
    "bucket_size": [*COUNT, 0],
    "buckets": [*COUNT, 0],
    "budget": CHOICE,
    "cap": [*REAL, 0],
    "center": CHOICE,
    "choice": [-1, 1.5, "x", True, [0, -1], {"a": "x"}, {}, SEVERAL],
    "choices": ["x", 3, [0], [1.5], [], [7], SEVERAL],
    "code": CODE,
    "coefficient_decay": [*REAL, 1.0],
    "columns": [*COUNT, 0],
    "compressor": COMPRESSOR,
    "compressors": [3, [jd.compression.top_k(0.1), 3], {"x": 3}, {0: 3}],
    "compute_time": FUNCTION,
    "confidence": [*REAL, 1.5],
    "constant": [*REAL, 0],
    "contraction": [x for x in REAL if x is not True],
    "control_variate": FLAG,
    "coordinate": COUNT,
    "corrupt": FUNCTION,
    "correct_drift": FLAG,
    "global_momentum": [*REAL, 1.5, -0.5],
    "cost": [3, "x", SEVERAL],
    "curvature": [*REAL, 0],
    "decay": [*REAL, 1.5],
    "delay": ["x", -1, 1.5, [0.5], [0.5, -0.5, 1.0], [], [[1.0]], ["a"]],
    "density": [*REAL, 0, 1.5],
    "densities": [3, "x", SEVERAL, {"a": None}, {"a": -0.1}, {"a": True}],
    "deviation": [*REAL, 0],
    "dimensions": [*COUNT, 3, 1.0],
    "direction": CHOICE,
    "distances": [3, "x", SEVERAL, np.zeros((2, 3)), np.zeros((0, 0)), np.eye(2) > 0],
    "distribution": CHOICE,
    "downlink": COMPRESSOR,
    "diversity": [*REAL, 0],
    "dtype": DTYPE,
    "dual": [3, "x", SEVERAL],
    "edges": [3, "x", SEVERAL, [[0.0, 1.0]], [[0, 1, 2]]],
    "dtypes": [3, ["foo"], [int]],
    "elementwise": [3, "x", [3], SEVERAL],
    "eps": [*REAL, -1],
    "factors": ["x", [-1.0], [[1.0]], 1.0, []],
    "false_alarm": [*REAL, 0.9],
    "efficiency": [*REAL, 0, 1.5],
    "fast": FUNCTION,
    "finite": FLAG,
    "fraction": [*REAL, 0.6],
    "fragments": FRAGMENTS,
    "from_plane": FUNCTION,
    "fun": FUNCTION,
    "gradients": ["x", 3, SEVERAL, np.full((1, 2), np.nan)],
    "has_aux": FLAG,
    "has_state": FLAG,
    "hessians": ["x", 3, SEVERAL, np.ones((1, 2, 3)), np.full((1, 2, 2), np.nan)],
    "history": [*COUNT, 0],
    "initial": [*COUNT, 0],
    "inner": OPTIMIZER,
    "inner_state": CHOICE,
    "inputs": FUNCTION,
    "interval": [*REAL, 0],
    "iterated": FLAG,
    "iterations": [*COUNT, 0],
    "joint": FLAG,
    "k": [*COUNT, 0],
    "keep_local": [*REAL, 1.5],
    "key": KEY,
    "kind": CHOICE,
    "knowledge": CHOICE,
    "keep": [*REAL, 1.0],
    "labels": ["x", SEVERAL],
    "last": [*REAL, 0, 1.5],
    "law": FUNCTION,
    "lazy": FLAG,
    "locality": [*REAL, 0],
    "leaf": ["x", {"a": SEVERAL}],
    "learning_rate": FUNCTION,
    "limit": [*REAL, 0],
    "load": [*COUNT, 0, 9],
    "loads": ["x", 1.5, -1, True, [1.5], [0], ["x"], [9] * 8, [[1]], SEVERAL],
    "loss": FUNCTION,
    "loss_average": [*COUNT, 0],
    "loss_fn": FUNCTION,
    "mask": [3, "x", SEVERAL],
    "masking": FLAG,
    "max_change": [*REAL, 0, 1.0],
    "max_coefficient": [*REAL, 0],
    "max_density": [*REAL, 0, 1.5],
    "max_factor": [*REAL, 0.5],
    "max_iterations": [*COUNT, 0],
    "max_step": [*REAL, 0],
    "max_leaves": [*COUNT, 0],
    "max_norm": [*REAL, 0],
    "max_period": [*COUNT, 0],
    "max_rank": [*COUNT, 0],
    "max_ratio": [*REAL, 0],
    "max_share": [*REAL, 0, 1.5],
    "max_size": [*COUNT, 0],
    "mean": [*REAL, 0],
    "memory_of": COMPRESSOR,
    "mesh": MESH,
    "metrics": FLAG,
    "micro_batches": [*COUNT, 0],
    "residual": FLAG,
    "unroll": FLAG,
    "middle": CHOICE,
    "min_coefficient": [*REAL, -1],
    "min_factor": [*REAL, 0, 1.5],
    "min_ndim": COUNT,
    "min_size": COUNT,
    "mixing_matrix": [*MATRIX, np.ones((3, 3)), np.eye(3)],
    "mode": CHOICE,
    "model_axis_name": [*AXIS, "data"],
    "momentum": [*REAL, 1.0],
    "more_workers": [*COUNT, 0],
    "nbytes": [3, {"x": 3}, {10: "x"}],
    "must_cover": FLAG,
    "neighbours": CHOICE,
    "new": [*COUNT, 0],
    "norm": CHOICE,
    "num": [*COUNT, 0, 9],
    "num_batches": [*COUNT, 0, 9],
    "num_caches": [*COUNT, 8],
    "num_near": [*COUNT, 0],
    "num_points": [*COUNT, 0, 9],
    "num_blocks": [*COUNT, 0],
    "num_byzantine": COUNT,
    "num_classes": [*COUNT, 1],
    "num_deviations": REAL,
    "num_draws": [*COUNT, 0],
    "num_fragments": [*COUNT, 0],
    "num_halvings": COUNT,
    "num_magnitudes": [*COUNT, 0],
    "num_refinements": COUNT,
    "num_refreshes": [*COUNT, 0],
    "num_removed": COUNT,
    "num_selected": [*COUNT, 0],
    "num_starts": [*COUNT, 0],
    "num_steps": COUNT,
    "num_stragglers": [*COUNT, 8],
    "num_units": [*COUNT, 0],
    "num_updates": [*COUNT, 0],
    "num_workers": [*COUNT, 0],
    "of": CHOICE,
    "offsets": [*COUNT, 0],
    "old": [*COUNT, 0],
    "oracle": FUNCTION,
    "order": CHOICE,
    "outer": OPTIMIZER,
    "overlap": COUNT,
    "owners": [3, "x", SEVERAL, [0] * 8, np.arange(8) + 1],
    "patterns": [3, {"x": 3}, {"(": jd.compression.identity(), 3: 4}, ["x"]],
    "penalty": REAL,
    "per_worker_params": FLAG,
    "period": [*COUNT, 0],
    "points": [3, "x", SEVERAL, [["x"]], np.ones((0, 2)), np.ones((8, 2)) * 1j],
    "power": REAL,
    "prior": ["x", 3, SEVERAL, np.full((2, 2), np.nan)],
    "probability": [*REAL, 1.5],
    "properties": [3, ["speed"], "speed"],
    "protocol": PROTOCOL,
    "quantizer": COMPRESSOR,
    "radius": [*REAL, -1],
    "rank": [*COUNT, 0],
    "rank_fraction": [*REAL, 0, 1.5],
    "rates": POSITIVE,
    "reach": [*REAL, 0],
    "refresh_compressor": COMPRESSOR,
    "refresh_downlink": COMPRESSOR,
    "reference_gradient": [3, "x", {"a": 1.0}],
    "residual_dtype": [*CHOICE, "int4"],
    "route": CHOICE,
    "rows": [*COUNT, 0],
    "rule": RULE,
    "saddle_point": FLAG,
    "sampled": [*REAL, 0],
    "scale": CHOICE,
    "scheme": CHOICE,
    "scope": CHOICE,
    "seconds": [*REAL, -1],
    "seed": COUNT,
    "shape": [3, "x", (1.5, 9), (-3, -3), SEVERAL],
    "shapes": [3, ["x"]],
    "shared": FLAG,
    "shared_randomness": FLAG,
    "shift": [*REAL, -1],
    "shifts": POSITIVE,
    "size": [*COUNT, 0],
    "slope": [*REAL, 0],
    "slow": FUNCTION,
    "sparsifier": COMPRESSOR,
    "sparsity": [*REAL, 0],
    "square_of_sum": [*REAL, -1.0],
    "squared": FLAG,
    "squares": [*REAL, -1.0],
    "step": COUNT,
    "step_seconds": [*REAL, 0, -1],
    "backward_share": [*REAL, -1, 2],
    "step_size": [*REAL, 0, 1.5],
    "steps": [*COUNT, 0],
    "storage": [3, "x", SEVERAL, jd.coding.uncoded(8, 8)],
    "stored_strength": [*REAL, 1.5],
    "strength": [*REAL, -1],
    "temperature": [*REAL, -1],
    "then": RULE,
    "threshold": [*REAL, -1],
    "tight": FLAG,
    "times": ["x", [1.0], [[-1.0]], [[]], 3],
    "tolerance": [*REAL, 0],
    "to_plane": FUNCTION,
    "topology": TOPOLOGY,
    "total": [*REAL, 1.0],
    "transform_size": [*COUNT, 0],
    "trusted": COUNT,
    "tx": OPTIMIZER,
    "value": [*REAL, -1],
    "values": CHOICE,
    "variance": REAL,
    "warm_up": CHOICE,
    "warm_up_compressor": COMPRESSOR,
    "weight_decay": [*REAL, -1],
    "weighted": FLAG,
    "weights": [3, "x", [0.5, "x"], [1.0, -1.0]],
    "worker_index": COUNT,
    "workers": [*COUNT, 0],
}

# What an argument of the same name means elsewhere.
SPECIAL: dict[tuple[str, str], list[Any]] = {
    ("layer_pairs", "order"): [3, "x", [3], SEVERAL],
    ("teleport", "batch"): [],
    ("teleport", "tolerance"): [*REAL, -1],
    ("graph_total_variation_prox", "num_steps"): [*COUNT, 0],
    ("graph_total_variation_prox", "values"): [3, "x", np.ones(()), np.arange(3)],
    ("graph_total_variation_prox", "weights"): [3, "x", SEVERAL],
    ("group_soft_threshold", "values"): [3, "x", np.ones(()), np.arange(3)],
    ("structured_representatives", "num_steps"): [*COUNT, 0],
    ("adascale", "decay"): [*REAL, 1.0],
    ("adascale", "learning_rate"): [*REAL, -1],
    ("adascale", "power"): [*REAL, -1],
    ("add_langevin_noise", "learning_rate"): [*REAL, 0],
    ("largest_learning_rate", "delay"): [*COUNT, 201],
    ("stationary_covariance", "delay"): COUNT,
    ("stationary_covariance", "learning_rate"): [*REAL, 0],
    ("keep_sparse", "mask"): [3, "x", True, SEVERAL, {"a": [0.5]}, {"a": None}],
    ("masked", "mask"): [3, "x", True, SEVERAL, {"a": [0.5]}, {"a": None}],
    ("measure_diversity", "decay"): [*REAL, 1.0],
    ("recommended_num_workers", "metrics"): [3, "x", (1.0, 1.0, 1), SEVERAL],
    ("coordinate_shift", "scale"): [*REAL],
    ("gaussian", "scale"): [*REAL, -1],
    ("inner_product_manipulation", "scale"): [*REAL],
    ("sign_flip", "scale"): [*REAL],
    ("learned_mimic", "warm_up"): COUNT,
    ("zeno", "learning_rate"): REAL,
    ("bucketing", "then"): FUNCTION,
    ("one_bit_adam", "warm_up"): [*COUNT, 0],
    ("one_bit_lamb", "warm_up"): [*COUNT, 0],
    ("adasync", "protocol"): [3, "x", SEVERAL],
    ("pareto", "scale"): [*REAL, 0],
    ("pareto", "shape"): [*REAL, 0],
    ("ringmaster", "limit"): [*COUNT, 0],
    ("until_decodable", "limit"): [*COUNT, 0, 9],
    ("communication_report", "num_workers"): [*COUNT, 0, {"data": "x"}],
    ("gradient_trees", "leaf"): [3],
    ("plan", "topology"): [3, "x", SEVERAL, {"data": 8}],
    ("plan", "tx"): [*OPTIMIZER, {}, {"one": 3}],
}

OPTIMIZERS = ("demo", "distributed_lion", "loco", "one_bit_adam", "zero_one_adam")
OPTIMIZERS += ("dion", "ef21_sgd2m", "one_bit_lamb")
SPECIAL |= {(name, "learning_rate"): [*REAL, -1] for name in OPTIMIZERS}

# Trees of arrays, and what JAX checks: the shapes decide, not the type.
NOT_CHECKED = {
    "extra_args": "passed on",
    "kwargs": "passed on",
    "options": "those of check_compressor",
    "params": "any tree of arrays",
    "state": "checked where it is used: test_states_of_others",
    "tree": "any tree of arrays",
}

GOOD: dict[str, Any] = {
    "densities": 0.5,
    "adjacency": [[0, 1], [1, 0]],
    "attack": jd.attacks.sign_flip(),
    "axis_name": "data",
    "batch": np.ones((3, 2), np.float32),
    "bucket_size": 2,
    "compressor": jd.compression.top_k(0.1),
    "choice": 0,
    "compressors": {0: jd.compression.top_k(0.1)},
    "code": jd.coding.uncoded(8, 8),
    "columns": 4,
    "compute_time": jd.timing.exponential(),
    "constant": 0.1,
    "delay": 1,
    "density": 0.1,
    "deviation": 1.0,
    "distances": np.eye(8),
    "edges": np.array([[0, 1]]),
    "dtype": jnp.bfloat16,
    "factors": [1.0] * 8,
    "fast": jd.timing.constant(),
    "fun": lambda x: x,
    "hessians": np.eye(2)[None],
    "initial": 1,
    "inner": optax.sgd(0.1),
    "interval": 1.0,
    "k": 1,
    "labels": np.arange(4),
    "law": jd.timing.exponential(),
    "leaf": np.ones(16, np.float32),
    "learning_rate": 0.1,
    "limit": 1,
    "load": 8,
    "loads": [8] * 8,
    "loss": lambda params, batch: 0.0,
    "loss_fn": lambda params, batch: 0.0,
    "max_density": 0.2,
    "coefficient_decay": 0.9,
    "max_change": 0.1,
    "max_coefficient": 10.0,
    "max_factor": 4.0,
    "min_coefficient": 0.01,
    "min_factor": 0.5,
    "max_step": 0.1,
    "mean": 1.0,
    "mesh": jax.sharding.Mesh(np.array(jax.devices()[:1]), ("data",)),
    "mixing_matrix": [[0.5, 0.5], [0.5, 0.5]],
    "new": 2,
    "num": 1,
    "num_batches": 4,
    "num_caches": 1,
    "num_blocks": 8,
    "num_byzantine": 1,
    "num_classes": 4,
    "num_fragments": 2,
    "num_stragglers": 1,
    "num_units": 8,
    "num_updates": 1,
    "num_workers": 8,
    "old": 1,
    "outer": optax.sgd(1.0),
    "owners": np.arange(8),
    "params": np.ones(3, np.float32),
    "penalty": 0.1,
    "points": np.ones((8, 2)),
    "probability": 0.5,
    "protocol": jd.timing.k_async(1),
    "quantizer": jd.compression.qsgd(4),
    "radius": 1.0,
    "rank": 1,
    "rates": [1.0, 2.0],
    "reference_gradient": np.ones(3, np.float32),
    "rows": 2,
    "rule": jd.rules.median(),
    "scale": 1.0,
    "shape": 2.0,
    "shift": 1.0,
    "shifts": [1.0, 2.0],
    "slow": jd.timing.constant(),
    "square_of_sum": 1.0,
    "squares": 1.0,
    "variance": 0.0,
    "sparsifier": jd.compression.top_k(0.1),
    "state": (),
    "storage": jd.coding.coded_storage(8, 1),
    "step_seconds": 1.0,
    "strength": 0.1,
    "then": jd.rules.mean(),
    "threshold": 1.0,
    "times": [[1.0]] * 8,
    "topology": jd.gossip.ring(),
    "tree": np.ones(3, np.float32),
    "tx": optax.sgd(0.1),
    "values": np.ones(2, np.float32),
    "weights": [1.0],
    "workers": 2,
}
GOOD_SPECIAL: dict[tuple[str, str], Any] = {
    ("plan", "topology"): {"data": jd.Link(8, 1e9)},
    ("rotation", "from_plane"): lambda point: point,
    ("rotation", "to_plane"): lambda point: point,
    ("teleport", "action"): jd.contrib.symmetry.rotation(jnp.copy, jnp.copy),
    ("teleport", "params"): np.ones(2, np.float32),
    ("erdos_renyi_densities", "params"): [np.ones((2, 3)), np.ones((3, 2))],
    ("smart_densities", "params"): [np.ones((2, 3)), np.ones((3, 2))],
    ("uniform_densities", "params"): [np.ones((2, 3)), np.ones((3, 2))],
    ("recommended_num_workers", "metrics"): jd.DiversityMetrics(
        jnp.ones(()), jnp.ones(()), jnp.ones((), jnp.int32)
    ),
    ("adasync", "protocol"): jd.timing.k_async,
    ("bucketing", "then"): jd.rules.trimmed_mean,
    ("one_bit_adam", "warm_up"): 1,
    ("one_bit_lamb", "warm_up"): 1,
    ("compressor_cases", "compressors"): [jd.compression.top_k(0.1)],
    ("resize_training", "state"): jd.TrainState(np.ones(3, np.float32), ()),
}
# What None means where it is not the default.
MEANS_SOMETHING = {
    ("blockwise_float8", "block_size"): "one block",
    ("blockwise_int", "block_size"): "one block",
    ("cat", "block_size"): "one block",
    ("coordinate_shift", "coordinate"): "all",
    ("dct_top_k", "block_size"): "one block",
    ("one_bit_adam", "max_ratio"): "no limit",
    ("one_bit_lamb", "max_ratio"): "no limit",
    ("zero_one_adam", "max_ratio"): "no limit",
    ("qsgd", "block_size"): "one block",
    ("structured_representatives", "diversity"): "no such term",
    ("structured_representatives", "locality"): "no such term",
    ("terngrad", "block_size"): "one block",
    ("teleport", "batch"): "a loss of the parameters alone",
    ("threshold", "block_size"): "one block",
}
# What must be given as well for an argument to mean something.
WITH: dict[Any, dict[str, Any]] = {
    "gspar": {"variance": 1.0},
    "threshold": {"value": 1.0},
    ("gspar", "density"): {"variance": None},
    ("mean", "max_share"): {"weights": [0.5, 0.5]},
    ("threshold", "density"): {"value": None},
}


class ArgumentRow(NamedTuple):
    """An argument of a public function, and what it does not take."""

    function: Any
    argument: str
    default: Any

    @property
    def name(self) -> str:
        """Function and argument."""
        return f"{self.function.__name__}-{self.argument}"


def rows() -> Iterator[ArgumentRow]:
    """Yield all arguments of all public functions."""
    for module in MODULES:
        for name in sorted(dir(module)):
            function = getattr(module, name)
            if name.startswith("_") or not isinstance(function, types.FunctionType):
                continue
            for parameter in inspect.signature(function).parameters.values():
                yield ArgumentRow(function, parameter.name, parameter.default)


def bad_values(row: ArgumentRow) -> list[Any]:
    """Return what the argument does not take."""
    special = SPECIAL.get((row.function.__name__, row.argument))
    bad = BAD[row.argument] if special is None else special
    key = (row.function.__name__, row.argument)
    takes_none = row.default is None or key in MEANS_SOMETHING
    return bad if takes_none else [*bad, None]


def call(row: ArgumentRow, value: Any) -> Any:
    """Call the function with a bad value; all else is good."""
    good = {}
    parameters = inspect.signature(row.function).parameters
    for parameter in parameters.values():
        variadic = parameter.kind is parameter.VAR_KEYWORD
        if parameter.default is parameter.empty and not variadic:
            key = (row.function.__name__, parameter.name)
            good[parameter.name] = GOOD_SPECIAL.get(key, GOOD.get(parameter.name))
    good |= WITH.get(row.function.__name__, {})
    if parameters[row.argument].kind is inspect.Parameter.VAR_POSITIONAL:
        return row.function(value)
    good |= WITH.get((row.function.__name__, row.argument), {})
    return row.function(**(good | {row.argument: value}))
