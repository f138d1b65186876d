"""Optax transformations for gradients that cross a network you cannot trust."""

import importlib.metadata

from jaxdist._types import AggregationRule as AggregationRule
from jaxdist.aggregation._aggregate import aggregate as aggregate
from jaxdist.aggregation._krum import krum as krum
from jaxdist.aggregation._mean import mean as mean
from jaxdist.aggregation._median import median as median
from jaxdist.aggregation._trimmed_mean import trimmed_mean as trimmed_mean
from jaxdist.compression._by_leaf import by_leaf as by_leaf
from jaxdist.compression._cast import cast as cast
from jaxdist.compression._compress import compress as compress
from jaxdist.compression._contractive import contractive as contractive
from jaxdist.compression._error_feedback import error_feedback as error_feedback
from jaxdist.compression._identity import identity as identity
from jaxdist.compression._qsgd import qsgd as qsgd
from jaxdist.compression._random_k import random_k as random_k
from jaxdist.compression._roundtrip import payload_nbytes as payload_nbytes
from jaxdist.compression._roundtrip import roundtrip as roundtrip
from jaxdist.compression._scaled_sign import scaled_sign as scaled_sign
from jaxdist.compression._top_k import top_k as top_k
