"""EfficientDet: the detector, its training, evaluation and commands."""
