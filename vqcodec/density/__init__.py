"""Density models: hierarchical VAEs, their likelihoods and bounds, and bits per dimension."""
