"""Codes: what workers compute in common, so that a server need not wait for all."""

from jaxdist.coding._batched_coupons import batched_coupons as batched_coupons
from jaxdist.coding._code import Code as Code
from jaxdist.coding._code import Decoded as Decoded
from jaxdist.coding._code import Holders as Holders
from jaxdist.coding._coded_storage import CodedStorage as CodedStorage
from jaxdist.coding._coded_storage import coded_storage as coded_storage
from jaxdist.coding._coupons import cover_probability as cover_probability
from jaxdist.coding._coupons import expected_arrivals as expected_arrivals
from jaxdist.coding._coupons import variance_of_arrivals as variance_of_arrivals
from jaxdist.coding._cyclic_repetition import cyclic_repetition as cyclic_repetition
from jaxdist.coding._fractional_repetition import (
    fractional_repetition as fractional_repetition,
)
from jaxdist.coding._hcmm import Allocation as Allocation
from jaxdist.coding._hcmm import optimal_loads as optimal_loads
from jaxdist.coding._random_units import random_units as random_units
from jaxdist.coding._repetition import repetition as repetition
from jaxdist.coding._shuffle_plan import ShufflePlan as ShufflePlan
from jaxdist.coding._shuffle_plan import shuffle_plan as shuffle_plan
from jaxdist.coding._uncoded import uncoded as uncoded
