"""Errors a user can cause. The command line prints them as one line and exits with code 2.

Nothing heavy is imported here: the command line needs these classes before it needs torch.
"""


class LineupError(Exception):
    """What went wrong, where (file, box, key, number), and what to do about it: in one line."""


class ConfigError(LineupError):
    """A key, name or value in the configuration is wrong."""


class DataError(LineupError):
    """An image or annotation file is missing, unreadable or says something impossible."""


class CheckpointError(LineupError):
    """A checkpoint is missing, damaged, foreign, or does not fit the model."""


class RunError(LineupError):
    """A run cannot start, go on, or keep its promise (locked, data changed, disk full, NaN)."""
