"""The head model from its packed file and from OBJ files."""

import json
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from efface.errors import EffaceError
from efface.faces.rendering.heads import Heads


def small(vertices: int = 90, modes: int = 3, shapes: int = 2) -> dict[str, np.ndarray]:
    """What a packed file holds, of a made-up mesh: one quad, then triangles, of two materials. Numbers have six
    digits, as in the official files."""
    random = np.random.default_rng(0)
    base = np.array([[float(f"{x:.6g}") for x in row] for row in random.normal(0, 5, (vertices, 3))], np.float32)
    triangles = np.vstack([[[0, 1, 2], [0, 2, 3]], random.integers(0, vertices, (40, 3))]).astype(np.int32)
    corners = np.vstack([[[5, 6, 7], [5, 7, 8]], random.integers(0, 50, (40, 3))]).astype(np.int32)
    return {
        "base": base,
        "ids": random.normal(0, 0.3, (modes, vertices, 3)).astype(np.float16),
        "ex": random.normal(0, 0.1, (shapes, vertices, 3)).astype(np.float16),
        "ex_names": np.array(["jawOpen", "browDown_L"][:shapes]),
        "tri": triangles,
        "tri_mat": np.array([1] * 20 + [0] * 22, np.uint8),
        "mats": np.array(["M_BackHead", "M_Face"]),
        "tri_uv": corners,
        "uv": random.random((50, 2)).astype(np.float32),
        "lm68": random.integers(0, vertices, 68),
    }


def packed(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    path = folder / "ict_model.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def official(folder: Path, arrays: dict[str, np.ndarray], quads: list[int]) -> Path:
    """Write the packed arrays as the repository has them. quads: triangles that are one quad with the next one."""
    root = folder / "FaceXModel"
    root.mkdir(parents=True)
    head = "#####\n# ICT FaceKit\n#####\n\nmtllib ICTFaceModelMaterial.mtl\n"
    base = arrays["base"]

    def vertices(rows: np.ndarray) -> str:
        return "".join(f"v {x:.9g} {y:.9g} {z:.9g}\n" for x, y, z in rows.tolist())

    texture = "".join(f"vt {u:.9g} {v:.9g}\n" for u, v in arrays["uv"].tolist())
    lines, current, skipped = [], None, False
    for i, (triangle, corners, mat) in enumerate(zip(arrays["tri"], arrays["tri_uv"], arrays["tri_mat"], strict=True)):
        if skipped:
            skipped = False
            continue
        if mat != current:
            lines.append(f"usemtl {arrays['mats'][mat]}")
            current = mat
        points = list(zip(triangle + 1, corners + 1, strict=True))
        if i in quads:
            points.append((arrays["tri"][i + 1][2] + 1, arrays["tri_uv"][i + 1][2] + 1))
            skipped = True
        lines.append("f " + " ".join(f"{v}/{t}/{v}" if i % 2 else f"{v}/{t}" for v, t in points))
    (root / "generic_neutral_mesh.obj").write_text(head + vertices(base) + texture + "\n".join(lines) + "\n")
    names = [f"identity{i:03d}" for i in range(len(arrays["ids"]))] + list(arrays["ex_names"])
    for name, offset in zip(names, [*arrays["ids"], *arrays["ex"]], strict=True):
        shape = base.astype(np.float64) + offset.astype(np.float64)
        (root / f"{name}.obj").write_text(head + vertices(shape) + texture)
    indices = {"expressions": arrays["ex_names"].tolist(), "idx_to_landmark_verts": arrays["lm68"].tolist()}
    (root / "vertex_indices.json").write_text(json.dumps(indices))
    return root


def assert_equal(one: Heads, other: Heads) -> None:
    for field in fields(Heads):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name
    assert one.digest == other.digest


def test_obj_files_give_what_the_packed_file_gives(tmp_path: Path):
    arrays = small()
    for name in ("ids", "ex"):  # nine digits hold base + offset to float32, and so does the file that was packed
        shapes = (arrays["base"] + arrays[name].astype(np.float64)).astype(np.float32)
        arrays[name] = (shapes - arrays["base"]).astype(np.float16)
    path = packed(tmp_path, arrays)
    root = official(tmp_path / "ICT-FaceKit", arrays, [0])
    one = Heads.load(path)
    assert one.triangles[:2].tolist() == [[0, 1, 2], [0, 2, 3]] and one.identity.shape == (3, 90, 3)
    assert_equal(Heads.load(root), one)
    assert_equal(Heads.load(root.parent), one)
    assert_equal(Heads.load(tmp_path), one)  # the folder of the packed file


@pytest.mark.real
def test_the_real_model_as_obj_files(data: Path, tmp_path: Path):
    """Cut down to three modes and two shapes, which take their share of the seconds of 154 files."""
    with np.load(data / "heads-ict" / "ict_model.npz") as z:
        arrays = {k: z[k] for k in z}
    arrays |= {k: arrays[k][:n] for k, n in (("ids", 3), ("ex", 2), ("ex_names", 2))}
    quads, i = [], 0
    faces = np.concatenate([arrays["tri"], arrays["tri_uv"], arrays["tri_mat"][:, None].repeat(3, 1)], 1).reshape(
        -1, 3, 3
    )
    while i < len(faces) - 1:  # two triangles in a row that share their first corner and an edge can be one quad
        if (faces[i][:, [0, 2]] == faces[i + 1][:, [0, 1]]).all():
            quads.append(i)
            i += 1
        i += 1
    assert 0 <= len(quads) - (52_220 - 26_384) < 100  # and a few triangles by chance, which makes no difference
    root = official(tmp_path, arrays, quads)
    start = time.perf_counter()
    found = Heads.load(root)
    seconds = time.perf_counter() - start
    packed(tmp_path, arrays)
    one = Heads.load(tmp_path / "ict_model.npz")
    for name in ("base", "expressions", "triangles", "corners", "uv", "material", "materials", "landmarks"):
        np.testing.assert_array_equal(getattr(found, name), getattr(one, name))
    assert np.abs(found.identity - one.identity).max() < 1e-3  # the text holds base + offset, rounded
    assert seconds < 4 and one.materials[4] == "M_Face"


def test_the_digest_tells_heads_apart(tmp_path: Path):
    arrays = small()
    one = Heads.load(packed(tmp_path, arrays)).digest
    assert one == Heads.load(packed(tmp_path, arrays)).digest and len(one) == 64
    for change in ({"ids": arrays["ids"] * np.float16(1.5)}, {"mats": np.array(["M_BackHead", "M_Skin"])}):
        assert Heads.load(packed(tmp_path, arrays | change)).digest != one


def fails(path: Path, *words: str) -> None:
    with pytest.raises(EffaceError) as caught:
        Heads.load(path)
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


def test_a_packed_file_that_is_none_is_one_line(tmp_path: Path):
    fails(tmp_path / "absent.npz", "absent.npz", "found nothing", "expected a file")
    fails(tmp_path, "found no head model", "ict_model.npz or generic_neutral_mesh.obj")
    path = packed(tmp_path, small())
    whole = path.read_bytes()
    for broken in (b"", b"no archive", whole[:3000], whole[:1500] + b"\0" * 200 + whole[1700:]):
        path.write_bytes(broken)
        fails(path, "ict_model.npz", "not a packed head model")
    np.save(tmp_path / "array.npy", np.zeros(3))
    fails(tmp_path / "array.npy", "not a packed head model")
    arrays = small()
    for change, said in (
        ({"ids": arrays["ids"][:, :80]}, "identity of shape (3, 80, 3), expected (3, 90, 3)"),
        ({"tri": arrays["tri"] + 60}, "numbers of triangles outside 0 to 89"),
        ({"lm68": arrays["lm68"][:60]}, "landmarks of shape (60,), expected (68,)"),
        ({"uv": arrays["uv"] * np.float32(np.nan)}, "values of uv that are not finite"),
    ):
        fails(packed(tmp_path, arrays | change), said)


def test_a_wrong_official_folder_is_one_line(tmp_path: Path):
    root = official(tmp_path, small(), [0])

    def changed(name: str, old: str, new: str, *words: str) -> None:
        path = root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        fails(root, name, *words)
        path.write_text(text)

    changed("generic_neutral_mesh.obj", "\nf ", "\nf x ", "found the face 'f x", "expected `f v/vt")
    changed("generic_neutral_mesh.obj", "usemtl M_Face", "", "after a line `usemtl")
    changed("generic_neutral_mesh.obj", "\nf 1/6", "\nf 999/6", "numbers of triangles outside")
    changed("identity001.obj", "\nv ", "\nv 1 2 3\nv ", "found 91 vertices, expected 90")
    changed("identity001.obj", "\nv ", "\nv 1 2 x\nv ", "numbers in 91 lines `v`")
    changed("vertex_indices.json", "expressions", "shapes", "found no lists")
    (root / "identity001.obj").rename(root / "kept")
    fails(root, "identity001.obj: found nothing, expected a file of an identity mode")
    (root / "kept").rename(root / "identity001.obj")
    (root / "jawOpen.obj").unlink()
    fails(root, "jawOpen.obj: found nothing, expected a file of a shape")
    (root / "vertex_indices.json").unlink()
    fails(root, "vertex_indices.json: found nothing")
