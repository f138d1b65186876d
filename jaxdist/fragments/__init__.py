"""Fragments: which parameters are exchanged together, in rounds that stream."""

from jaxdist.fragments._assigned import assigned as assigned
from jaxdist.fragments._fragments import Fragments as Fragments
from jaxdist.fragments._sequential import sequential as sequential
from jaxdist.fragments._strided import strided as strided
