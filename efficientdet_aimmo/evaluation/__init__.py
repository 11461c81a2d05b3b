"""Accuracy: detections against ground truth, and its report."""
