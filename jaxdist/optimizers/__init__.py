"""Optimizers: whole ones, whose workers exchange little and stay together."""

from jaxdist.optimizers._demo import DemoState as DemoState
from jaxdist.optimizers._demo import demo as demo
from jaxdist.optimizers._dion import DionState as DionState
from jaxdist.optimizers._dion import dion as dion
from jaxdist.optimizers._distributed_lion import (
    DistributedLionState as DistributedLionState,
)
from jaxdist.optimizers._distributed_lion import distributed_lion as distributed_lion
from jaxdist.optimizers._ef21_sgd2m import Ef21Sgd2mState as Ef21Sgd2mState
from jaxdist.optimizers._ef21_sgd2m import ef21_sgd2m as ef21_sgd2m
from jaxdist.optimizers._loco import LocoState as LocoState
from jaxdist.optimizers._loco import loco as loco
from jaxdist.optimizers._one_bit_adam import OneBitAdamState as OneBitAdamState
from jaxdist.optimizers._one_bit_adam import one_bit_adam as one_bit_adam
from jaxdist.optimizers._one_bit_lamb import OneBitLambState as OneBitLambState
from jaxdist.optimizers._one_bit_lamb import one_bit_lamb as one_bit_lamb
from jaxdist.optimizers._zero_one_adam import ZeroOneAdamState as ZeroOneAdamState
from jaxdist.optimizers._zero_one_adam import zero_one_adam as zero_one_adam
