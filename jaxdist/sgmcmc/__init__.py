"""SG-MCMC: what makes of optax's SGD a sampler, also over a network."""

from jaxdist.sgmcmc._add_langevin_noise import (
    AddLangevinNoiseState as AddLangevinNoiseState,
)
from jaxdist.sgmcmc._add_langevin_noise import add_langevin_noise as add_langevin_noise
from jaxdist.sgmcmc._control_variate import ControlVariateState as ControlVariateState
from jaxdist.sgmcmc._control_variate import control_variate as control_variate
from jaxdist.sgmcmc._largest_learning_rate import (
    largest_learning_rate as largest_learning_rate,
)
