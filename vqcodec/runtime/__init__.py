"""Synthesis without torch: the network's weights, folded for a quality, in onnxruntime."""
