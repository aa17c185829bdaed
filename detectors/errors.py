"""Errors a user can cause. The command line prints them as one line and exits with code 2.

Nothing heavy is imported here: the command line needs these classes before it needs torch.
"""


class LineupError(Exception):
    """What went wrong, where (file, box, key, number), and what to do about it: in one line."""


class ConfigError(LineupError):
    """A key, name or value in the configuration is wrong."""


class DataError(LineupError):
    """An image or annotation file is missing, unreadable or says something impossible.

    Args:
        where: file, object, and the numbers as they are written there.
        what: is wrong with it.
        remedy: what the user can do.
    """

    def __init__(self, where: object, what: str, remedy: str) -> None:
        super().__init__(str(where), what, remedy)  # all of them: errors are pickled out of workers
        self.where, self.what, self.remedy = str(where), what, remedy

    def __str__(self) -> str:
        """One line, whatever stands in the files."""
        lines = f"{self.where}: {self.what}: {self.remedy}".splitlines()
        text = " ".join(line.strip() for line in lines)
        return "".join(c if c.isprintable() else " " for c in text)


class CheckpointError(LineupError):
    """A checkpoint is missing, damaged, foreign, or does not fit the model."""


class RunError(LineupError):
    """A run cannot start, go on, or keep its promise (locked, data changed, disk full, NaN)."""
