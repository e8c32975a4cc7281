"""`efface demo`."""

import os
from pathlib import Path

from efface.cli.options import configuration, run_and_show
from efface.errors import EffaceError

CONFIG = Path("configs/recognition/orl.yaml")
MARK = ".efface-demo"
"""File that says that the demo wrote a folder, and may replace it."""


def demo() -> None:
    """Forget four real people in a real recogniser (needs EFFACE_DATA); writes demo-run/ and replaces only its own."""
    if not os.environ.get("EFFACE_DATA"):
        raise EffaceError("EFFACE_DATA is not set; set it to the folder of real weights and faces (see README.md)")
    if not CONFIG.is_file():
        raise EffaceError(f"{CONFIG}: not here; run the demo in the folder that holds efface's README.md")
    run_and_show(configuration(CONFIG, None, out=Path("demo-run")), resume=True, mark=MARK)
