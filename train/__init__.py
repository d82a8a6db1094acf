"""Training of the models: one script a model, with the loop, data, logs and checkpoints shared."""
