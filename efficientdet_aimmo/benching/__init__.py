"""Speed and memory of training, inference and input on this machine."""
