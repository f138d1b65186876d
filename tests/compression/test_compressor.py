"""Contracts of compressors, and names."""

import dataclasses

import numpy as np
import pytest

import jaxdist as jd


def test_contract_promises_nothing_by_default():
    contract = jd.Contract()
    assert contract.contraction(10) == -np.inf
    with pytest.raises(dataclasses.FrozenInstanceError):
        contract.unbiased = True


def test_contraction_is_what_the_variance_leaves():
    assert jd.Contract(variance=lambda size: 1 / size).contraction(4) == 0.75


def test_reprs_are_names():
    assert (
        repr(jd.compression.error_feedback(jd.compression.top_k(0.1)))
        == "error_feedback(top_k(0.1))"
    )
    assert repr(jd.rules.trimmed_mean(2)) == "trimmed_mean(2)"
    assert (
        repr(jd.compression.by_leaf(jd.compression.scaled_sign()))
        == "by_leaf(scaled_sign())"
    )
