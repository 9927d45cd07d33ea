"""Samples of a file as values of records."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from replay.encode import short_floats


@given(arrays(np.float32, 50, elements=st.floats(-1e6, 1e6, width=32)))
def test_short_floats_give_the_same_float32(values):
    found = np.array([float(repr(each)) for each in short_floats(values)]).astype(np.float32)

    assert (values == found).all()


def test_short_floats_are_short():
    values = np.random.default_rng(3).normal(0, 1, 10_000).astype(np.float32)

    assert np.mean([len(repr(each)) for each in short_floats(values)]) < 12
