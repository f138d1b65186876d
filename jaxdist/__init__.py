"""Optax transformations for gradients that cross a network you cannot trust."""

from importlib import metadata as _metadata

from jaxdist import attacks as attacks
from jaxdist import coding as coding
from jaxdist import compression as compression
from jaxdist import contrib as contrib
from jaxdist import diagnostics as diagnostics
from jaxdist import fragments as fragments
from jaxdist import gossip as gossip
from jaxdist import optimizers as optimizers
from jaxdist import rules as rules
from jaxdist import sgmcmc as sgmcmc
from jaxdist import sparsity as sparsity
from jaxdist import testing as testing
from jaxdist import timing as timing
from jaxdist._collectives import AxisName as AxisName
from jaxdist._random import Keys as Keys
from jaxdist.aggregation._aggregate import aggregate as aggregate
from jaxdist.aggregation._aggregation import AggregateState as AggregateState
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
from jaxdist.aggregation._receiver_memory import EstimateState as EstimateState
from jaxdist.aggregation._resize_residuals import resize_residuals as resize_residuals
from jaxdist.aggregation._rule_state import RuleState as RuleState
from jaxdist.aggregation._shard_optimizer import shard_optimizer as shard_optimizer
from jaxdist.aggregation._share_momentum import ShareMomentumState as ShareMomentumState
from jaxdist.aggregation._share_momentum import share_momentum as share_momentum
from jaxdist.attacks._attack import Attack as Attack
from jaxdist.attacks._inject_attack import InjectAttackState as InjectAttackState
from jaxdist.attacks._inject_attack import inject_attack as inject_attack
from jaxdist.coding._recover import RecoverState as RecoverState
from jaxdist.coding._recover import recover as recover
from jaxdist.compression._compress import CompressState as CompressState
from jaxdist.compression._compress import compress as compress
from jaxdist.compression._compressor import Compressor as Compressor
from jaxdist.compression._compressor import Contract as Contract
from jaxdist.compression._compressor import Dialogue as Dialogue
from jaxdist.compression._measured import CompressionMetrics as CompressionMetrics
from jaxdist.compression._measured import compression_metrics as compression_metrics
from jaxdist.compression._roundtrip import payload_nbytes as payload_nbytes
from jaxdist.compression._roundtrip import roundtrip as roundtrip
from jaxdist.diagnostics._adascale import AdascaleState as AdascaleState
from jaxdist.diagnostics._adascale import adascale as adascale
from jaxdist.diagnostics._diversity_metrics import DiversityMetrics as DiversityMetrics
from jaxdist.diagnostics._diversity_metrics import (
    diversity_metrics as diversity_metrics,
)
from jaxdist.diagnostics._measure_diversity import (
    MeasureDiversityState as MeasureDiversityState,
)
from jaxdist.diagnostics._measure_diversity import (
    measure_diversity as measure_diversity,
)
from jaxdist.diagnostics._running_moments import RunningMoments as RunningMoments
from jaxdist.gossip._average_params import average_params as average_params
from jaxdist.gossip._consensus_distance import consensus_distance as consensus_distance
from jaxdist.gossip._estimates import NeighborEstimateState as NeighborEstimateState
from jaxdist.gossip._exact_diffusion import ExactDiffusionState as ExactDiffusionState
from jaxdist.gossip._exact_diffusion import exact_diffusion as exact_diffusion
from jaxdist.gossip._mix_with_neighbors import (
    MixWithNeighborsState as MixWithNeighborsState,
)
from jaxdist.gossip._mix_with_neighbors import mix_with_neighbors as mix_with_neighbors
from jaxdist.gossip._push_sum import PushSumState as PushSumState
from jaxdist.gossip._push_sum import push_sum as push_sum
from jaxdist.gossip._track_gradient import TrackGradientState as TrackGradientState
from jaxdist.gossip._track_gradient import track_gradient as track_gradient
from jaxdist.layout._init import init as init
from jaxdist.layout._per_shard import per_shard as per_shard
from jaxdist.layout._per_worker import per_worker as per_worker
from jaxdist.layout._state_specs import state_specs as state_specs
from jaxdist.layout._value_and_grad import value_and_grad as value_and_grad
from jaxdist.leader._pull_to_center import PullToCenterState as PullToCenterState
from jaxdist.leader._pull_to_center import pull_to_center as pull_to_center
from jaxdist.leader._pull_to_leader import LeaderMemoryState as LeaderMemoryState
from jaxdist.leader._pull_to_leader import PullToLeaderState as PullToLeaderState
from jaxdist.leader._pull_to_leader import pull_to_leader as pull_to_leader
from jaxdist.planning._candidate import Candidate as Candidate
from jaxdist.planning._link import Link as Link
from jaxdist.planning._plan import Plan as Plan
from jaxdist.planning._plan import plan as plan
from jaxdist.planning._planned_step import PlannedStep as PlannedStep
from jaxdist.recipes._data_parallel import data_parallel as data_parallel
from jaxdist.recipes._local_round import local_round as local_round
from jaxdist.recipes._local_step import TrainState as TrainState
from jaxdist.recipes._local_step import local_step as local_step
from jaxdist.recipes._local_updates import LocalUpdatesState as LocalUpdatesState
from jaxdist.recipes._local_updates import local_updates as local_updates
from jaxdist.recipes._reduce_variance import ReduceVarianceState as ReduceVarianceState
from jaxdist.recipes._reduce_variance import reduce_variance as reduce_variance
from jaxdist.recipes._resize_training import resize_training as resize_training
from jaxdist.recipes._rounds import DriftState as DriftState
from jaxdist.recipes._rounds import PreviousState as PreviousState
from jaxdist.recipes._rounds import RoundState as RoundState
from jaxdist.recipes._simulate import simulate as simulate
from jaxdist.recipes._simulate_async import AsyncState as AsyncState
from jaxdist.recipes._simulate_async import simulate_async as simulate_async
from jaxdist.recipes._streaming import StreamState as StreamState
from jaxdist.rules._rule import AggregationRule as AggregationRule
from jaxdist.rules._rule import RuleContract as RuleContract
from jaxdist.safety._assert_replicas_equal import (
    assert_replicas_equal as assert_replicas_equal,
)
from jaxdist.safety._replica_fingerprint import (
    replica_fingerprint as replica_fingerprint,
)
from jaxdist.safety._replicas_equal import replicas_equal as replicas_equal
from jaxdist.safety._skip_nonfinite import SkipNonfiniteState as SkipNonfiniteState
from jaxdist.safety._skip_nonfinite import skip_nonfinite as skip_nonfinite
from jaxdist.sparsity._keep_sparse import KeepSparseState as KeepSparseState
from jaxdist.sparsity._keep_sparse import keep_sparse as keep_sparse
from jaxdist.staleness._delay_updates import DelayInnerState as DelayInnerState
from jaxdist.staleness._delay_updates import DelayUpdatesState as DelayUpdatesState
from jaxdist.staleness._delay_updates import delay_updates as delay_updates
from jaxdist.staleness._limit_step_by_distance import (
    limit_step_by_distance as limit_step_by_distance,
)
from jaxdist.staleness._scale_by_staleness import (
    scale_by_staleness as scale_by_staleness,
)
from jaxdist.staleness._skip_stale import SkipStaleState as SkipStaleState
from jaxdist.staleness._skip_stale import skip_stale as skip_stale
from jaxdist.workers._arrival import Arrival as Arrival
from jaxdist.workers._worker_state import PerWorkerState as PerWorkerState

__version__ = _metadata.version("jaxdist")

_ROOMS = {"aggregation", "geometry", "layout", "leader", "recipes", "safety"}
_ROOMS |= {
    "planning",
    "staleness",
    "workers",
}  # folders whose names stand here, or in a family


def __dir__() -> list[str]:
    """List verbs, types and families, not the folders in which they happen to live."""
    return sorted(name for name in globals() if name[0] != "_" and name not in _ROOMS)
