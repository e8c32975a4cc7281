"""The README's picture, docs/demo.png: the faces of the report that `efface demo` wrote.

python -m benchmarks.demo_picture [demo-run/report.html]
"""

import base64
import re
import sys
from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs" / "demo.png"


def main(report: str = "demo-run/report.html") -> None:
    """Take the figure out of the report."""
    found = re.search(r'id="faces"><img src="data:image/png;base64,([^"]+)"', Path(report).read_text(encoding="utf-8"))
    if found is None:
        sys.exit(f"{report}: found no picture of faces, expected the report of a demo; run efface demo")
    PICTURE.write_bytes(base64.b64decode(found[1]))
    print(f"written: {PICTURE}")


if __name__ == "__main__":
    main(*sys.argv[1:])
