import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
torch.set_num_threads(1)  # two test processes share two cores


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real weights and faces: EFFACE_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("EFFACE_DATA") or Path(__file__).parents[1] / ".." / "shared" / "data").resolve()
    if not folder.is_dir():
        pytest.skip(f"real data is not here ({folder}); set EFFACE_DATA")
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
