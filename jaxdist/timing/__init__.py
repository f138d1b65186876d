"""Timing: laws of compute time, and protocols that decide whom to wait for."""

from jaxdist.timing._adasync import adasync as adasync
from jaxdist.timing._clock import Clock as Clock
from jaxdist.timing._constant import constant as constant
from jaxdist.timing._expected_staleness import expected_staleness as expected_staleness
from jaxdist.timing._expected_step_time import expected_step_time as expected_step_time
from jaxdist.timing._exponential import exponential as exponential
from jaxdist.timing._k_async import k_async as k_async
from jaxdist.timing._k_batch_async import k_batch_async as k_batch_async
from jaxdist.timing._k_batch_sync import k_batch_sync as k_batch_sync
from jaxdist.timing._k_sync import k_sync as k_sync
from jaxdist.timing._law import Law as Law
from jaxdist.timing._mixture import mixture as mixture
from jaxdist.timing._pareto import pareto as pareto
from jaxdist.timing._protocol import Protocol as Protocol
from jaxdist.timing._ringmaster import ringmaster as ringmaster
from jaxdist.timing._shifted_exponential import (
    shifted_exponential as shifted_exponential,
)
from jaxdist.timing._simulate_clock import Timeline as Timeline
from jaxdist.timing._simulate_clock import simulate_clock as simulate_clock
from jaxdist.timing._slowed import slowed as slowed
from jaxdist.timing._trace import trace as trace
