"""What can go wrong in training and the user can put right: each message is one clear line."""


class TrainError(Exception):
    """Base of the errors that a training script reports in one line before it exits with 1."""


class DataError(TrainError):
    """A data set that is missing, empty or unreadable."""


class CheckpointError(TrainError):
    """A checkpoint that is missing, unreadable, in the way or of another model."""


class DivergedError(TrainError):
    """Training that has produced no finite loss for a long time."""
