"""What the README shows of the demo: docs/report.html, docs/demo.png, which is the report's first figure, and the table
as it is printed.

    python -m benchmarks.readme [demo-run]      after efface demo
"""

import base64
import io
import json
import re
import sys
from pathlib import Path

from rich.console import Console

from efface.folder import write_text
from efface.report.terminal import print_audit

ROOT = Path(__file__).parents[1]


def main(run: str = "demo-run") -> None:
    """Take the picture out of the report, and print the table again into the README."""
    folder = Path(run)
    report = (folder / "report.html").read_text(encoding="utf-8")
    found = re.search(r'id="faces"><img src="data:image/png;base64,([^"]+)"', report)
    if found is None:
        sys.exit(f"{folder / 'report.html'}: found no picture of faces, expected the report of a demo; run efface demo")
    write_text(ROOT / "docs" / "report.html", report)
    (ROOT / "docs" / "demo.png").write_bytes(base64.b64decode(found[1]))
    console = Console(file=io.StringIO(), width=80, highlight=False)
    print_audit(json.loads((folder / "audit.json").read_text(encoding="utf-8")), console)
    printed = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    lines = "\n".join(line.rstrip() for line in printed.strip().splitlines())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    write_text(
        ROOT / "README.md", re.sub(r"```text\n.*?```", lambda _: f"```text\n{lines}\n```", readme, count=1, flags=re.S)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
