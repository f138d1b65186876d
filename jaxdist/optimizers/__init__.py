"""Optimizers: whole ones, whose workers exchange little and stay together."""

from jaxdist.optimizers._one_bit_adam import OneBitAdamState as OneBitAdamState
from jaxdist.optimizers._one_bit_adam import one_bit_adam as one_bit_adam
from jaxdist.optimizers._zero_one_adam import ZeroOneAdamState as ZeroOneAdamState
from jaxdist.optimizers._zero_one_adam import zero_one_adam as zero_one_adam
