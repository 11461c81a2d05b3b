"""One device or many, on one machine or many."""
