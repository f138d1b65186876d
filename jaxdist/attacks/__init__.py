"""Attacks: what corrupt workers send, to test rules against."""

from jaxdist.attacks._a_little_is_enough import a_little_is_enough as a_little_is_enough
from jaxdist.attacks._anti_comparative_elimination import (
    anti_comparative_elimination as anti_comparative_elimination,
)
from jaxdist.attacks._attack import SeenUpdates as SeenUpdates
from jaxdist.attacks._coordinate_shift import coordinate_shift as coordinate_shift
from jaxdist.attacks._fang_krum import fang_krum as fang_krum
from jaxdist.attacks._fang_trimmed_mean import fang_trimmed_mean as fang_trimmed_mean
from jaxdist.attacks._gaussian import gaussian as gaussian
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
