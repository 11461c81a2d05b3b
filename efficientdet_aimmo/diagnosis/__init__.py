"""What a machine offers for computing on a GPU, and what does not fit."""
