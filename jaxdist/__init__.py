"""Optax transformations for gradients that cross a network you cannot trust."""

import importlib.metadata

from jaxdist._collectives import AxisName as AxisName
from jaxdist._random import Keys as Keys
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
from jaxdist.aggregation._communication_report import (
    CommunicationReport as CommunicationReport,
)
from jaxdist.aggregation._communication_report import (
    communication_report as communication_report,
)
from jaxdist.aggregation._resize_residuals import resize_residuals as resize_residuals
from jaxdist.aggregation._rule_state import RuleState as RuleState
from jaxdist.aggregation._shard_optimizer import shard_optimizer as shard_optimizer
from jaxdist.attacks._a_little_is_enough import a_little_is_enough as a_little_is_enough
from jaxdist.attacks._anti_comparative_elimination import (
    anti_comparative_elimination as anti_comparative_elimination,
)
from jaxdist.attacks._attack import Attack as Attack
from jaxdist.attacks._attack import SeenUpdates as SeenUpdates
from jaxdist.attacks._coordinate_shift import coordinate_shift as coordinate_shift
from jaxdist.attacks._fang_krum import fang_krum as fang_krum
from jaxdist.attacks._fang_trimmed_mean import fang_trimmed_mean as fang_trimmed_mean
from jaxdist.attacks._gaussian import gaussian as gaussian
from jaxdist.attacks._inject_attack import InjectAttackState as InjectAttackState
from jaxdist.attacks._inject_attack import inject_attack as inject_attack
from jaxdist.attacks._inner_product_manipulation import (
    inner_product_manipulation as inner_product_manipulation,
)
from jaxdist.attacks._label_flip import label_flip as label_flip
from jaxdist.attacks._learned_mimic import LearnedMimicState as LearnedMimicState
from jaxdist.attacks._learned_mimic import learned_mimic as learned_mimic
from jaxdist.attacks._mimic import mimic as mimic
from jaxdist.attacks._min_max import min_max as min_max
from jaxdist.attacks._min_sum import min_sum as min_sum
from jaxdist.attacks._non_finite import non_finite as non_finite
from jaxdist.attacks._optimal_a_little_is_enough import (
    optimal_a_little_is_enough as optimal_a_little_is_enough,
)
from jaxdist.attacks._optimal_inner_product_manipulation import (
    optimal_inner_product_manipulation as optimal_inner_product_manipulation,
)
from jaxdist.attacks._sign_flip import sign_flip as sign_flip
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
from jaxdist.compression._compressor import Compressor as Compressor
from jaxdist.compression._compressor import Contract as Contract
from jaxdist.compression._compressor import Dialogue as Dialogue
from jaxdist.compression._compressor import LeafPolicy as LeafPolicy
from jaxdist.compression._compressor import StepPolicy as StepPolicy
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
from jaxdist.geometry._geometry import Geometry as Geometry
from jaxdist.geometry._norms import Norms as Norms
from jaxdist.geometry._radii import Radii as Radii
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
from jaxdist.rules._aksel import aksel as aksel
from jaxdist.rules._arc import arc as arc
from jaxdist.rules._bucketing import bucketing as bucketing
from jaxdist.rules._bulyan import bulyan as bulyan
from jaxdist.rules._caf import caf as caf
from jaxdist.rules._centered_clipping import (
    centered_clipping as centered_clipping,
)
from jaxdist.rules._cge import cge as cge
from jaxdist.rules._clipped_clustering import (
    ClippedClusteringState as ClippedClusteringState,
)
from jaxdist.rules._clipped_clustering import (
    clipped_clustering as clipped_clustering,
)
from jaxdist.rules._clipping import clipping as clipping
from jaxdist.rules._dnc import dnc as dnc
from jaxdist.rules._fltrust import fltrust as fltrust
from jaxdist.rules._geometric_median import geometric_median as geometric_median
from jaxdist.rules._krum import krum as krum
from jaxdist.rules._meamed import meamed as meamed
from jaxdist.rules._mean import mean as mean
from jaxdist.rules._median import median as median
from jaxdist.rules._minimum_diameter import minimum_diameter as minimum_diameter
from jaxdist.rules._minimum_variance import minimum_variance as minimum_variance
from jaxdist.rules._monna import monna as monna
from jaxdist.rules._multi_krum import multi_krum as multi_krum
from jaxdist.rules._nnm import nnm as nnm
from jaxdist.rules._phocas import phocas as phocas
from jaxdist.rules._rule import AggregationRule as AggregationRule
from jaxdist.rules._rule import RuleContract as RuleContract
from jaxdist.rules._sign_majority import sign_majority as sign_majority
from jaxdist.rules._smea import smea as smea
from jaxdist.rules._spectral_filter import spectral_filter as spectral_filter
from jaxdist.rules._trimmed_mean import trimmed_mean as trimmed_mean
from jaxdist.rules._zeno import zeno as zeno
from jaxdist.safety._assert_replicas_equal import (
    assert_replicas_equal as assert_replicas_equal,
)
from jaxdist.safety._replica_fingerprint import (
    replica_fingerprint as replica_fingerprint,
)
from jaxdist.safety._replicas_equal import replicas_equal as replicas_equal
from jaxdist.safety._skip_nonfinite import SkipNonfiniteState as SkipNonfiniteState
from jaxdist.safety._skip_nonfinite import skip_nonfinite as skip_nonfinite
from jaxdist.staleness._delay_updates import DelayUpdatesState as DelayUpdatesState
from jaxdist.staleness._delay_updates import delay_updates as delay_updates

__version__ = importlib.metadata.version("jaxdist")
