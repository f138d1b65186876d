"""Sparsity: how many weights of each layer are kept, and which."""

from jaxdist.sparsity._erdos_renyi_densities import (
    erdos_renyi_densities as erdos_renyi_densities,
)
from jaxdist.sparsity._magnitude_mask import magnitude_mask as magnitude_mask
from jaxdist.sparsity._random_mask import random_mask as random_mask
from jaxdist.sparsity._smart_densities import smart_densities as smart_densities
from jaxdist.sparsity._uniform_densities import uniform_densities as uniform_densities
