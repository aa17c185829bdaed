"""What every test stands on: real images where they are at hand, no network, one thread."""

import os
import socket
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real image sets beside the checkout; they are not part of the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(
            f"needs the real image sets in {SHARED_DATA}, which are not part of the project"
        )
    return SHARED_DATA


@pytest.fixture
def unused_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
