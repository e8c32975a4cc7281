"""What holds for the whole house: what is not installed, what import costs, and that imports run one way."""

import ast
import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "efface"

LEVELS = (
    {"errors"},
    {"registry", "progress", "processes", "memory", "precision"},
    {"folder", "testing.drawn"},
    {"models"},
    {"faces"},
    {"targets", "training"},
    {"methods", "metrics", "report", "gallery", "journal", "moments"},
    {"attacks", "portraits"},
    {"config"},
    {"given"},
    {"run_drawing", "scene"},
    {"run", "run_diffusion", "run_gan"},
    {"recipes", "benchmark"},
    {"cli", "service"},
    {"testing"},
)
"""Rooms from the ground up: a room imports from lower levels and from itself, never from its own level or above.
`testing.drawn` only draws, and the data set `drawn` is made of it; the rest of `testing` checks the whole house."""


BANNED = {"torchvision", "timm", "lpips", "facenet_pytorch", "open_clip", "piq", "torch_fidelity", "cleanfid"}


def test_torchvision_and_what_needs_it_are_absent():
    assert not {name for name in BANNED if importlib.util.find_spec(name)}
    assert not BANNED & set(packages_distributions())


@pytest.mark.parametrize(
    "code", ["import efface", "import sys; sys.argv[1:] = ['--help']; import efface.cli as c; c.main()"]
)
def test_import_and_help_are_instant_and_without_torch(code: str):
    seconds: list[float] = []
    for _ in range(3):  # the best of three: the machine may be busy
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
        )
        seconds.append(time.perf_counter() - start)
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
        assert "efface" in imported and not imported & {"torch", "faiss", "accelerate", "matplotlib"}
        if seconds[-1] < 1:
            return
    pytest.fail(f"took {min(seconds):.2f} s, expected under 1 s")


def modules() -> list[tuple[str, Path]]:
    """(dotted name below efface, file) of every module; `faces` for faces/__init__.py."""
    files = [(file.relative_to(SOURCE).with_suffix(""), file) for file in sorted(SOURCE.rglob("*.py"))]
    return [(".".join(p for p in path.parts if p != "__init__"), file) for path, file in files]


def imports(file: Path) -> Iterator[str]:
    """Dotted names below efface that a file imports anywhere, in functions too; "" is efface itself."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import in line {node.lineno}; say efface.…"
            named = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.partition(".")[2] for name in named if name.partition(".")[0] == "efface")


def level(name: str) -> tuple[int, str]:
    """(level, room) of a dotted name: its longest part that has a level."""
    for room in (".".join(name.split(".")[:2]), name.partition(".")[0]):
        for height, rooms in enumerate(LEVELS):
            if room in rooms:
                return height, room
    raise AssertionError(f"{name}: a room without a level; give it one in LEVELS")


def test_every_room_has_a_level():
    assert {level(name)[1] for name, _ in modules() if name} >= {
        "cli",
        "run",
        "methods",
        "metrics",
        "targets",
        "models",
    }


def test_imports_run_one_way():
    wrong: list[str] = []
    for name, file in modules():
        for imported in imports(file):
            if imported.partition(".")[0] in ("", "EffaceError", "__version__"):
                continue  # what `import efface` itself gives; it imports errors alone
            if not name:
                assert imported.partition(".")[0] == "errors", "import efface stays instant: errors alone"
                continue
            (own, room), (other, its_room) = level(name), level(imported)
            if other >= own and its_room != room:
                wrong.append(f"{name} imports {imported}")
    assert not wrong


def test_the_walk_sees_imports_in_functions_and_by_name(tmp_path: Path):
    file = tmp_path / "module.py"
    file.write_text(
        "import efface\nfrom efface import metrics\ndef f():\n    import efface.run\n    from efface.cli import x\n"
    )
    assert set(imports(file)) == {"", "metrics", "run", "cli.x"}
    assert level("metrics.recognition.rank") > level("targets.recognition") > level("models.weights") > level("errors")
