"""Symmetry: moves of parameters that keep the loss and change its gradient."""

from jaxdist.contrib.symmetry._action import Action as Action
from jaxdist.contrib.symmetry._layer_pairs import layer_pairs as layer_pairs
from jaxdist.contrib.symmetry._rotation import rotation as rotation
from jaxdist.contrib.symmetry._teleport import TeleportMetrics as TeleportMetrics
from jaxdist.contrib.symmetry._teleport import teleport as teleport
