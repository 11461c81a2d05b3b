"""The training run: loop, step, optimizer, checkpoints."""
