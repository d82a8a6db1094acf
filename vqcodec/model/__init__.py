"""The network: a hierarchical VQ-VAE and the training view of its prior (PyTorch)."""
