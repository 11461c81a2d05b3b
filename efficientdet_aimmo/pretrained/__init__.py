"""Weights from elsewhere, by their official names."""
