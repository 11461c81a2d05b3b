"""The network: backbone, feature pyramid, heads."""
