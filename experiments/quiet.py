"""Silences what libraries say about themselves; what they say about the user's run stays."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

CHATTY = ("lightning.pytorch", "lightning.fabric")
"""Devices, tips, restored files: they stand in the manifest or nowhere."""

NOT_THE_USERS = (
    ".*isinstance\\(treespec, LeafSpec\\).*",  # Lightning against a newer torch
    ".*does not have many workers.*",  # chosen in conf/datamodule, measured by `lineup benchmark`
    ".*Checkpoint directory .* exists and is not empty.*",  # a run resumes into its own folder
    ".*smaller than the logging interval.*",  # the epoch's values are logged
    ".*dataloader.* resuming from a checkpoint.*",
)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Within the block, Lightning logs warnings only, and known false alarms are not shown."""
    before = {name: logging.getLogger(name).level for name in CHATTY}
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in NOT_THE_USERS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
