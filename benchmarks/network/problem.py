"""What all libraries learn alike: the model, its start, and the order of the data.

Needs NumPy only, since it is imported in the environments of all of them.
"""

import dataclasses
import json
import math
import pathlib

import numpy as np

# Layers in the order of the network. Convolutions are 3 x 3, halve the image, and pad
# by one pixel; a ReLU follows every layer but the last.
MODELS = {
    "mlp": (("dense", 2048), ("dense", 2048), ("dense", 2048), ("dense", 10)),
    "cnn": (("conv", 32), ("conv", 64), ("dense", 544), ("dense", 10)),
}
KERNEL = 3


@dataclasses.dataclass(frozen=True)
class Phase:
    """Some steps over links of one rate."""

    rate: str | None = None  # of each link, in each direction; None for no limit
    steps: int = 12
    warm_up: int = 4  # first steps, which are not timed
    evaluate_every: int = 0  # steps; 0 for never


@dataclasses.dataclass(frozen=True)
class Job:
    """What the processes of one run are told: one training, phase after phase."""

    library: str  # "jax", "torch" or "torchft"
    method: str  # how the gradients travel: a name that the library's worker knows
    model: str = "mlp"
    hosts: int = 2
    alone: bool = False  # whether each host trains by itself, with its part of a batch
    local_steps: int = 1  # that a host takes between two exchanges
    phases: tuple[Phase, ...] = (Phase(),)
    batch_size: int = 128  # of all hosts together
    learning_rate: float = 1e-3
    test_images: int = 2000
    seed: int = 0

    def __post_init__(self):
        """Raise for a job that no process could do."""
        if self.model not in MODELS:
            raise ValueError(
                f"`model` must be one of {list(MODELS)}, got {self.model!r}."
            )
        if self.hosts < 1 or self.batch_size % self.hosts:
            raise ValueError(
                f"`batch_size` must be a multiple of `hosts`, got {self.batch_size} "
                f"and {self.hosts}."
            )
        for phase in self.phases:
            if not 0 <= phase.warm_up < phase.steps:
                raise ValueError(
                    f"`warm_up` must lie in [0, steps), got {phase.warm_up} of "
                    f"{phase.steps}."
                )
            numbers = phase.steps, phase.warm_up, phase.evaluate_every
            if any(number % self.local_steps for number in numbers):
                raise ValueError(
                    f"`steps`, `warm_up` and `evaluate_every` must be multiples of "
                    f"`local_steps`, got {numbers} and {self.local_steps}."
                )

    @property
    def world(self) -> int:
        """How many hosts train together."""
        return 1 if self.alone else self.hosts

    @property
    def steps(self) -> int:
        """How many steps there are in all phases together."""
        return sum(phase.steps for phase in self.phases)

    def save(self, folder: pathlib.Path) -> None:
        """Write the job where its processes look for it."""
        (folder / "job.json").write_text(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def load(folder: pathlib.Path) -> "Job":
        """Read what :meth:`save` wrote."""
        fields = json.loads((folder / "job.json").read_text())
        phases = tuple(Phase(**phase) for phase in fields.pop("phases"))
        return Job(**fields, phases=phases)


def initial_params(model: str, image_shape: tuple[int, ...], seed: int) -> dict:
    """Return ``{"0_conv": {"kernel", "bias"}, ...}`` in the layout of JAX, float32.

    Kernels are [height, width, in, out] or [in, out]; images are flattened with their
    channels last.
    """
    rng = np.random.default_rng(seed)
    height, width, channels = image_shape
    params, flat = {}, None
    for i, (kind, size) in enumerate(MODELS[model]):
        if kind == "conv":
            shape = (KERNEL, KERNEL, channels, size)
            height, width, channels = -(-height // 2), -(-width // 2), size
        else:
            shape = (flat or height * width * channels, size)
            flat = size
        scale = math.sqrt(2 / math.prod(shape[:-1]))
        kernel = scale * rng.standard_normal(shape)
        params[f"{i}_{kind}"] = {
            "kernel": kernel.astype(np.float32),
            "bias": np.zeros(size, np.float32),
        }
    return params


def batch_indices(num_images: int, job: Job) -> np.ndarray:
    """Return which images the hosts see together, ``[steps, batch_size]``."""
    rng = np.random.default_rng(job.seed)
    epochs = -(-job.steps * job.batch_size // num_images)
    order = np.concatenate([rng.permutation(num_images) for _ in range(epochs)])
    return order[: job.steps * job.batch_size].reshape(job.steps, job.batch_size)


def share(rows: np.ndarray, index: int, num_hosts: int) -> np.ndarray:
    """Return one host's part of rows that divide evenly."""
    size = len(rows) // num_hosts
    return rows[index * size : (index + 1) * size]


def as_floats(images: np.ndarray) -> np.ndarray:
    """Return pixels in [0, 1] of uint8 images."""
    return images.astype(np.float32) / 255
