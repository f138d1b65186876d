"""Compressors: what one worker sends instead of one leaf, and what it remembers."""

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
from jaxdist.compression._masked import masked as masked
from jaxdist.compression._measured import MeasuredState as MeasuredState
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
from jaxdist.compression._scaled_sign import scaled_sign as scaled_sign
from jaxdist.compression._terngrad import terngrad as terngrad
from jaxdist.compression._threshold import ThresholdState as ThresholdState
from jaxdist.compression._threshold import threshold as threshold
from jaxdist.compression._top_k import top_k as top_k
from jaxdist.compression._two_bit import two_bit as two_bit
from jaxdist.compression.numerics._matrix import MatrixAxes as MatrixAxes


def __dir__() -> list[str]:
    """List what is public, which `numerics` is not."""
    return sorted(name for name in globals() if name[0] != "_" and name != "numerics")
