"""Contrib: what is useful near a network, but not about it."""

from jaxdist.contrib import symmetry as symmetry
from jaxdist.contrib._representatives import Representatives as Representatives
from jaxdist.contrib._representatives import representatives as representatives
