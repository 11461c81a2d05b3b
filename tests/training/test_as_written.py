"""When TensorFlow may rewrite graphs."""

from __future__ import annotations

import pytest
import tensorflow as tf

from efficientdet_aimmo.training import as_written


def _is_off() -> bool:
    options = tf.config.optimizer.get_experimental_options()
    return options.get("disable_meta_optimizer", False)


def test_graphs_are_rewritten_outside_alone() -> None:
    assert not _is_off()
    with as_written.as_written():
        assert _is_off()
        with as_written.as_written():
            assert _is_off()
        assert _is_off()
    assert not _is_off()
    with pytest.raises(KeyError), as_written.as_written():
        raise KeyError
    assert not _is_off()
