"""The morphable head: ICT-FaceKit's face model (Li et al. 2020, https://github.com/ICT-VGL/ICT-FaceKit, MIT)."""

import hashlib
import itertools
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from efface.errors import EffaceError
from efface.faces.layout import file_at, first_of

PACKED, NEUTRAL, INDICES = "ict_model.npz", "generic_neutral_mesh.obj", "vertex_indices.json"
"""The packed file; and, of the official folder, the mean face and the names of expressions and landmarks."""


@dataclass(frozen=True)
class Heads:
    """A base mesh, identity modes and expression shapes. Lengths in cm; x to the person's left, y up, z forward."""

    base: np.ndarray
    """Vertices of the mean face, float32 [V, 3]."""
    identity: np.ndarray
    """Offsets of the identity modes, each of unit variance, float32 [modes, V, 3]."""
    expression: np.ndarray
    """Offsets of the expression shapes at weight 1, float32 [shapes, V, 3]."""
    expressions: tuple[str, ...]
    """Their names, as `jawOpen`."""
    triangles: np.ndarray
    """Vertex numbers, int32 [T, 3]."""
    corners: np.ndarray
    """Rows of `uv` of each triangle's corners, int32 [T, 3]."""
    uv: np.ndarray
    """Texture coordinates, float32 [U, 2]."""
    material: np.ndarray
    """Index into `materials` of each triangle, uint8 [T]."""
    materials: tuple[str, ...]
    """Their names, as `M_Face`."""
    landmarks: np.ndarray
    """Vertex numbers of the 68 landmarks, int64 [68]."""

    @classmethod
    def load(cls, path: Path) -> "Heads":
        """Read the packed file (ict_model.npz), the folder that holds it, or the official repository: its root or its
        folder FaceXModel. Both give equal arrays. Raises EffaceError where something is missing or does not fit."""
        if path.is_dir():
            places = (PACKED, NEUTRAL, f"FaceXModel/{NEUTRAL}")
            path = first_of(path, places, "head model (ICT-FaceKit)")
        else:
            file_at(path, f"such as {PACKED}, or the folder of ICT-FaceKit")
        heads = _official(path.parent) if path.name == NEUTRAL else _packed(path)
        problem = _misfit(heads)
        if problem:
            raise EffaceError(f"{path}: {problem}; fetch the head model again")
        return heads

    @cached_property
    def digest(self) -> str:
        """sha256 over all arrays and names, 64 hexadecimal digits: the same for the same heads, however packed."""
        total = hashlib.sha256()
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                total.update(f"{field.name} {value.dtype.str} {value.shape}\n".encode())
                total.update(np.ascontiguousarray(value).data)
            else:
                total.update(f"{field.name} {json.dumps(value)}\n".encode())
        return total.hexdigest()


def _packed(path: Path) -> Heads:
    try:
        with np.load(path, allow_pickle=False) as z:
            f32 = np.float32
            return Heads(
                z["base"].astype(f32), z["ids"].astype(f32), z["ex"].astype(f32),
                tuple(map(str, z["ex_names"])), z["tri"].astype(np.int32), z["tri_uv"].astype(np.int32),
                z["uv"].astype(f32), z["tri_mat"].astype(np.uint8), tuple(map(str, z["mats"])),
                z["lm68"].astype(np.int64),
            )  # fmt: skip
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise EffaceError(f"{path}: not a packed head model ({error}), expected {PACKED}; fetch it again") from error


def _official(folder: Path) -> Heads:
    """The OBJ files of FaceXModel."""
    expressions, landmarks = _indices(folder / INDICES)
    neutral = folder / NEUTRAL
    base = _vertices(neutral)
    triangles, corners, material, materials = _faces(neutral)
    modes = [folder / f"identity{i:03d}.obj" for i in range(_modes(folder))]
    shapes = [folder / f"{name}.obj" for name in expressions]
    return Heads(
        base, _offsets(modes, base), _offsets(shapes, base), expressions, triangles, corners,
        _rows(neutral, b"vt", 2), material, materials, landmarks,
    )  # fmt: skip


def _indices(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the expressions, and the landmarks' vertices."""
    file_at(path, "that names the expressions and landmarks of ICT-FaceKit")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(map(str, found["expressions"]))
        return names, np.array(found["idx_to_landmark_verts"], dtype=np.int64)
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise EffaceError(
            f"{path}: found no lists `expressions` and `idx_to_landmark_verts` ({error!r}); fetch the file again"
        ) from error


def _modes(folder: Path) -> int:
    """Number of identity files; they are numbered without a gap."""
    numbers = {int(m[1]) for p in folder.iterdir() if (m := re.fullmatch(r"identity(\d{3})\.obj", p.name))}
    for number in range(max(numbers, default=0) + 1):
        file_at(folder / f"identity{number:03d}.obj", "of an identity mode of ICT-FaceKit")
    return len(numbers)


def _offsets(files: list[Path], base: np.ndarray) -> np.ndarray:
    """What each file adds to the mean face, float32 [files, V, 3], rounded through float16 as the packed file is."""
    found = np.empty((len(files), *base.shape), np.float32)
    for i, path in enumerate(files):
        vertices = _vertices(file_at(path, "of a shape of ICT-FaceKit"))
        if len(vertices) != len(base):
            raise EffaceError(
                f"{path}: found {len(vertices):,} vertices, expected {len(base):,} as in {NEUTRAL}; fetch both again"
            )
        found[i] = (vertices - base).astype(np.float16)
    return found


def _vertices(path: Path) -> np.ndarray:
    return _rows(path, b"v", 3)


def _rows(path: Path, kind: bytes, width: int) -> np.ndarray:
    """The numbers of an OBJ file's lines of one kind (`v`, `vt`), float32 [lines, width]."""
    start = kind + b" "
    rows = [line[len(start) :] for line in _lines(path) if line.startswith(start)]
    try:
        found = np.fromstring(b" ".join(rows), sep=" ", dtype=np.float64)
    except ValueError:
        found = np.empty(0)
    if not rows or found.size != width * len(rows):
        raise EffaceError(
            f"{path}: found {found.size:,} numbers in {len(rows):,} lines `{kind.decode()}`, expected {width} in each; "
            "fetch the file again"
        )
    return found.astype(np.float32).reshape(-1, width)


def _faces(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Triangles, their corners in `uv`, and their materials, sorted by name. Polygons are fans about their first
    corner; triangles keep the file's order."""
    faces: list[tuple[bytes, list[tuple[int, int]]]] = []
    name = b""
    for line in _lines(path):
        kind, *words = line.split() or [b""]
        if kind == b"usemtl":
            name = b" ".join(words)
        elif kind == b"f":
            pairs = [tuple(map(int, word.split(b"/")[:2])) for word in words if re.match(rb"\d+/\d+", word)]
            if len(pairs) < 3 or len(pairs) != len(words) or not name:
                raise EffaceError(
                    f"{path}: found the face {line.decode(errors='replace')[:60]!r}, expected `f v/vt v/vt v/vt …` "
                    "after a line `usemtl …`; fetch the file again"
                )
            faces.append((name, [(v - 1, t - 1) for v, t in pairs]))
    fans = [
        (name, (corners[0], second, third))
        for name, corners in faces
        for second, third in itertools.pairwise(corners[1:])
    ]
    if not fans:
        raise EffaceError(f"{path}: found no face, expected lines `f v/vt v/vt v/vt`; fetch the file again")
    materials = sorted({name for name, _ in fans})
    corners = np.array([fan for _, fan in fans], np.int32)
    material = np.array([materials.index(name) for name, _ in fans], np.uint8)
    names = tuple(name.decode("utf-8", "replace") for name in materials)
    return np.ascontiguousarray(corners[..., 0]), np.ascontiguousarray(corners[..., 1]), material, names


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except OSError as error:
        raise EffaceError(f"{path}: cannot be read ({error.strerror}); check the file") from error


def _misfit(heads: Heads) -> str | None:
    """What does not fit together, in words."""
    vertices, triangles = len(heads.base), len(heads.triangles)
    expected = {
        "base": (vertices, 3),
        "identity": (len(heads.identity), vertices, 3),
        "expression": (len(heads.expressions), vertices, 3),
        "triangles": (triangles, 3),
        "corners": (triangles, 3),
        "uv": (len(heads.uv), 2),
        "material": (triangles,),
        "landmarks": (68,),
    }
    for name, shape in expected.items():
        if getattr(heads, name).shape != shape:
            return f"found {name} of shape {getattr(heads, name).shape}, expected {shape}"
    for name, below in _numbered(heads):
        numbers = getattr(heads, name)
        if not numbers.size or numbers.min() < 0 or numbers.max() >= below:
            return f"found numbers of {name} outside 0 to {below - 1:,}"
    for name in ("base", "identity", "expression", "uv"):
        if not np.isfinite(getattr(heads, name)).all():
            return f"found values of {name} that are not finite"
    return None


def _numbered(heads: Heads) -> Iterator[tuple[str, int]]:
    """(array that holds numbers, how many things they number)."""
    yield "triangles", len(heads.base)
    yield "landmarks", len(heads.base)
    yield "corners", len(heads.uv)
    yield "material", len(heads.materials)
