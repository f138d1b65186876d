"""Optax transformations for gradients that cross a network you cannot trust."""

import importlib.metadata

from jaxdist._geometry import Geometry as Geometry
from jaxdist._rule import AggregationRule as AggregationRule
from jaxdist._rule import RuleContract as RuleContract
from jaxdist._types import AxisName as AxisName
from jaxdist._types import Compressor as Compressor
from jaxdist._types import Contract as Contract
from jaxdist._types import Dialogue as Dialogue
from jaxdist._types import Keys as Keys
from jaxdist._types import LeafPolicy as LeafPolicy
from jaxdist._types import StepPolicy as StepPolicy
from jaxdist._worker_state import PerWorkerState as PerWorkerState
from jaxdist.aggregation._aggregate import AggregateState as AggregateState
from jaxdist.aggregation._aggregate import Received as Received
from jaxdist.aggregation._aggregate import aggregate as aggregate
from jaxdist.aggregation._aggregation_metrics import (
    AggregationMetrics as AggregationMetrics,
)
from jaxdist.aggregation._aggregation_metrics import (
    aggregation_metrics as aggregation_metrics,
)
from jaxdist.aggregation._arc import arc as arc
from jaxdist.aggregation._bucketing import bucketing as bucketing
from jaxdist.aggregation._clipped_clustering import (
    ClippedClusteringState as ClippedClusteringState,
)
from jaxdist.aggregation._clipped_clustering import (
    clipped_clustering as clipped_clustering,
)
from jaxdist.aggregation._clipping import clipping as clipping
from jaxdist.aggregation._communication_report import (
    CommunicationReport as CommunicationReport,
)
from jaxdist.aggregation._communication_report import (
    communication_report as communication_report,
)
from jaxdist.aggregation._dnc import dnc as dnc
from jaxdist.aggregation._fltrust import fltrust as fltrust
from jaxdist.aggregation._krum import krum as krum
from jaxdist.aggregation._meamed import meamed as meamed
from jaxdist.aggregation._mean import mean as mean
from jaxdist.aggregation._median import median as median
from jaxdist.aggregation._nnm import nnm as nnm
from jaxdist.aggregation._phocas import phocas as phocas
from jaxdist.aggregation._resize_residuals import resize_residuals as resize_residuals
from jaxdist.aggregation._rule_state import RuleState as RuleState
from jaxdist.aggregation._sign_majority import sign_majority as sign_majority
from jaxdist.aggregation._trimmed_mean import trimmed_mean as trimmed_mean
from jaxdist.aggregation._zeno import zeno as zeno
from jaxdist.attack._gaussian import gaussian as gaussian
from jaxdist.attack._inject_attack import Attack as Attack
from jaxdist.attack._inject_attack import InjectAttackState as InjectAttackState
from jaxdist.attack._inject_attack import inject_attack as inject_attack
from jaxdist.attack._sign_flip import sign_flip as sign_flip
from jaxdist.compression._atomo import atomo as atomo
from jaxdist.compression._blockwise_float8 import blockwise_float8 as blockwise_float8
from jaxdist.compression._blockwise_int import blockwise_int as blockwise_int
from jaxdist.compression._by_leaf import by_leaf as by_leaf
from jaxdist.compression._by_step import by_step as by_step
from jaxdist.compression._cast import cast as cast
from jaxdist.compression._cat import AffineCost as AffineCost
from jaxdist.compression._cat import CatState as CatState
from jaxdist.compression._cat import PacketCost as PacketCost
from jaxdist.compression._cat import cat as cat
from jaxdist.compression._compress import CompressState as CompressState
from jaxdist.compression._compress import compress as compress
from jaxdist.compression._contractive import contractive as contractive
from jaxdist.compression._dct_top_k import dct_top_k as dct_top_k
from jaxdist.compression._drive import drive as drive
from jaxdist.compression._eden import eden as eden
from jaxdist.compression._ef21 import Ef21State as Ef21State
from jaxdist.compression._ef21 import ef21 as ef21
from jaxdist.compression._error_feedback import ErrorFeedbackState as ErrorFeedbackState
from jaxdist.compression._error_feedback import error_feedback as error_feedback
from jaxdist.compression._gspar import gspar as gspar
from jaxdist.compression._identity import identity as identity
from jaxdist.compression._measured import CompressionMetrics as CompressionMetrics
from jaxdist.compression._measured import MeasuredState as MeasuredState
from jaxdist.compression._measured import compression_metrics as compression_metrics
from jaxdist.compression._measured import measured as measured
from jaxdist.compression._momentum_correction import (
    MomentumCorrectionState as MomentumCorrectionState,
)
from jaxdist.compression._momentum_correction import (
    momentum_correction as momentum_correction,
)
from jaxdist.compression._natural import natural as natural
from jaxdist.compression._one_bit import one_bit as one_bit
from jaxdist.compression._power_sgd import PowerSgdState as PowerSgdState
from jaxdist.compression._power_sgd import power_sgd as power_sgd
from jaxdist.compression._qsgd import qsgd as qsgd
from jaxdist.compression._quantized import quantized as quantized
from jaxdist.compression._random_k import random_k as random_k
from jaxdist.compression._roundtrip import payload_nbytes as payload_nbytes
from jaxdist.compression._roundtrip import roundtrip as roundtrip
from jaxdist.compression._scaled_sign import scaled_sign as scaled_sign
from jaxdist.compression._terngrad import terngrad as terngrad
from jaxdist.compression._threshold import ThresholdState as ThresholdState
from jaxdist.compression._threshold import threshold as threshold
from jaxdist.compression._top_k import top_k as top_k
from jaxdist.layout._init import init as init
from jaxdist.layout._per_worker import per_worker as per_worker
from jaxdist.layout._state_specs import state_specs as state_specs
from jaxdist.layout._value_and_grad import value_and_grad as value_and_grad
from jaxdist.leader._pull_to_leader import PullToLeaderState as PullToLeaderState
from jaxdist.leader._pull_to_leader import pull_to_leader as pull_to_leader
from jaxdist.recipes._data_parallel import data_parallel as data_parallel
from jaxdist.recipes._local_step import TrainState as TrainState
from jaxdist.recipes._local_step import local_step as local_step
from jaxdist.recipes._simulate import simulate as simulate
from jaxdist.staleness._delay_updates import DelayUpdatesState as DelayUpdatesState
from jaxdist.staleness._delay_updates import delay_updates as delay_updates

__version__ = importlib.metadata.version("jaxdist")
