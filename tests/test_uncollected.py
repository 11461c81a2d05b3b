"""The garbage collector is held back, and comes back."""

from __future__ import annotations

import gc

import pytest

from efficientdet_aimmo import uncollected


def test_collector_is_off_inside_and_on_again() -> None:
    assert gc.isenabled()
    with uncollected.uncollected():
        assert not gc.isenabled()
        with uncollected.uncollected():
            pass
        assert not gc.isenabled()  # the inner one leaves it as it was
    assert gc.isenabled()
    with pytest.raises(KeyError), uncollected.uncollected():
        raise KeyError
    assert gc.isenabled()
