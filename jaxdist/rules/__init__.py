"""Aggregation rules: how the contributions of W workers become one."""

from jaxdist.geometry._geometry import Geometry as Geometry
from jaxdist.geometry._norms import Norms as Norms
from jaxdist.geometry._radii import Radii as Radii
from jaxdist.rules._aksel import aksel as aksel
from jaxdist.rules._arc import arc as arc
from jaxdist.rules._bucketing import bucketing as bucketing
from jaxdist.rules._bulyan import bulyan as bulyan
from jaxdist.rules._caf import caf as caf
from jaxdist.rules._centered_clipping import centered_clipping as centered_clipping
from jaxdist.rules._cge import cge as cge
from jaxdist.rules._clipped_clustering import (
    ClippedClusteringState as ClippedClusteringState,
)
from jaxdist.rules._clipped_clustering import clipped_clustering as clipped_clustering
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
from jaxdist.rules._sign_majority import sign_majority as sign_majority
from jaxdist.rules._smea import smea as smea
from jaxdist.rules._spectral_filter import spectral_filter as spectral_filter
from jaxdist.rules._trimmed_mean import trimmed_mean as trimmed_mean
from jaxdist.rules._zeno import zeno as zeno


def __dir__() -> list[str]:
    """List what is public, which `numerics` is not."""
    return sorted(name for name in globals() if name[0] != "_" and name != "numerics")
