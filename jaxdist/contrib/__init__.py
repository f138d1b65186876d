"""Contrib: what is useful near a network, but not about it."""

from jaxdist.contrib import symmetry as symmetry
from jaxdist.contrib._graph_total_variation_prox import (
    GraphTotalVariationProx as GraphTotalVariationProx,
)
from jaxdist.contrib._graph_total_variation_prox import (
    graph_total_variation_prox as graph_total_variation_prox,
)
from jaxdist.contrib._group_soft_threshold import (
    group_soft_threshold as group_soft_threshold,
)
from jaxdist.contrib._representatives import Representatives as Representatives
from jaxdist.contrib._representatives import representatives as representatives
from jaxdist.contrib._structured_representatives import (
    StructuredRepresentatives as StructuredRepresentatives,
)
from jaxdist.contrib._structured_representatives import (
    structured_representatives as structured_representatives,
)
