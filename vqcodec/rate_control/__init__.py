"""Rate control: a file of a size, or a picture of a quality, that was asked for."""
