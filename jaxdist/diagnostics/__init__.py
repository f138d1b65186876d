"""Diagnostics: what gradients tell about the number of workers that is worth it."""

from jaxdist.diagnostics._example_diversity import ExampleDiversity as ExampleDiversity
from jaxdist.diagnostics._example_diversity import (
    example_diversity as example_diversity,
)
from jaxdist.diagnostics._expected_diversity import (
    expected_diversity as expected_diversity,
)
from jaxdist.diagnostics._recommended_num_workers import (
    recommended_num_workers as recommended_num_workers,
)
