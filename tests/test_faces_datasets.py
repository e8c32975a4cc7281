"""Every reader on a small set in its official layout, and on each way in which that layout can be wrong."""

import io
import os
import pickle
import re
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from efface import config, registry
from efface.errors import EffaceError
from efface.faces.datasets.celeba import CelebA
from efface.faces.datasets.folder import Folder
from efface.faces.datasets.lfw import LFW
from efface.faces.datasets.verification import Verification
from efface.faces.datasets.vggface2 import VGGFace2
from efface.faces.people import People, Photo, natural_key

PUBLISHED = {"folder", "lfw", "celeba", "vggface2", "recordio", "verification"}


def picture(path: Path, tone: int = 0, size: tuple[int, int] = (8, 10), mode: str = "RGB") -> None:
    """A small picture of one tone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, tone if mode == "L" else (tone, 0, 255 - tone)).save(path)


def fails(reader: object, *words: str) -> None:
    """`read` raises one line that holds these words."""
    with pytest.raises(EffaceError) as caught:
        reader.read()  # type: ignore[attr-defined]
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


@pytest.mark.parametrize(
    ("ending", "kind"), [(".png", "<u2"), (".tif", "<u2"), (".tif", ">u2"), (".tif", "<i4"), (".pgm", "<u2")]
)
def test_a_grey_picture_of_16_bits_is_that_of_8(tmp_path, ending, kind):
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    path, small = tmp_path / f"1{ending}", tmp_path / "2.png"
    wide = Image.fromarray((grey.astype(np.uint16) * 257).astype(kind))
    turned = {"exif": _turned()} if ending != ".pgm" else {}
    wide.save(path, **turned)
    Image.fromarray(grey).save(small, **turned)
    found, expected = (Photo("a", p.name, p).pixels() for p in (path, small))
    assert found.dtype == np.uint8 and np.array_equal(found, expected)
    assert found.shape == ((32, 8, 3) if turned else (8, 32, 3)) and len(np.unique(found)) == 256


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = 6
    return exif


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (np.full((4, 4), 0.5, np.float32), "0.5 to 0.5 (mode F)"),
        (np.full((4, 4), 65536, np.int32), "65536 to 65536 (mode I)"),
        (np.full((4, 4), -1, np.int32), "-1 to -1 (mode I)"),
    ],
)
def test_a_picture_without_a_fixed_range_is_one_line(tmp_path, values, found):
    path = tmp_path / "1.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(EffaceError) as caught:
        Photo("a", "1.tif", path).pixels()
    assert str(caught.value) == (f"{path}: found a picture of {found}, expected 8 or 16 bits; save it as PNG or JPEG")


def test_every_reader_says_what_it_is_and_what_its_fields_mean():
    names = set(registry.names("faces.datasets"))
    assert names >= PUBLISHED
    for name in names:
        entry = registry.describe("faces.datasets", name)
        assert entry.summary and all(field.doc for field in entry.fields), name
        assert name not in PUBLISHED or entry.facts["paper"]


def test_natural_key_orders_every_pair_of_different_names():
    names = ["s10", "s2", "S2", "s02", "s2a", "2", "10", "a", "", "²", "s", "s2/10.png", "s2/9.png"]
    assert sorted(names, key=natural_key) == sorted(reversed(names), key=natural_key)
    assert sorted(["s10", "s2", "s2a", "s"], key=natural_key) == ["s", "s2", "s2a", "s10"]


def test_photos_of_one_name_are_an_error():
    with pytest.raises(EffaceError, match=r"a/1\.png: found two photos"):
        People.of([Photo("a", "a/1.png", data=b""), Photo("a", "a/1.png", data=b"")])


# --- folder ---------------------------------------------------------------------------------------------------------


def test_folder_reads_any_format_in_natural_order(tmp_path: Path):
    for person in ("s10", "s2", "s1"):
        for number, ending in enumerate((".pgm", ".png", ".JPG", ".bmp"), start=8):
            picture(tmp_path / person / f"{number}{ending}", tone=90, mode="L" if ending == ".pgm" else "RGB")
    (tmp_path / "README").write_text("about")
    (tmp_path / "s1" / "notes.txt").write_text("about")
    (tmp_path / "s1" / ".hidden.png").write_bytes(b"no picture")
    (tmp_path / ".cache").mkdir()
    people = Folder(path=tmp_path).read()
    assert list(people.photos) == ["s1", "s2", "s10"]
    assert [p.name for p in people.photos["s1"]] == ["s1/8.pgm", "s1/9.png", "s1/10.JPG", "s1/11.bmp"]
    assert not people.aligned and people.pairs == ()
    for photo in people.photos["s1"]:
        assert photo.pixels().shape == (10, 8, 3) and photo.pixels().dtype == np.uint8
    assert people.photos["s1"][0].pixels()[0, 0].tolist() == [90, 90, 90]
    assert Folder(path=tmp_path, aligned=True).read().aligned


def test_folder_says_what_is_wrong(tmp_path: Path):
    fails(Folder(path=tmp_path / "absent"), "absent", "found nothing", "expected a folder")
    fails(Folder(path=tmp_path), "found no folder", "one folder of pictures for each person")
    (tmp_path / "file.png").write_bytes(b"")
    fails(Folder(path=tmp_path / "file.png"), "found a file", "expected a folder")
    picture(tmp_path / "train" / "anna" / "1.png")
    fails(
        Folder(path=tmp_path),
        "train/anna",
        "a folder inside a person's folder",
        "give the folder that holds the people",
    )
    (tmp_path / "train" / "bob").mkdir()
    (tmp_path / "train" / "bob" / "notes.txt").write_text("about")
    fails(Folder(path=tmp_path / "train"), "train/bob", "found no picture among 1 files")


def test_a_picture_that_is_none_is_named(tmp_path: Path):
    picture(tmp_path / "anna" / "1.png")
    (tmp_path / "anna" / "2.png").write_bytes(b"no picture")
    os.symlink(tmp_path / "gone.png", tmp_path / "anna" / "3.png")
    good, bad, gone = Folder(path=tmp_path).read().photos["anna"]
    assert good.pixels().shape == (10, 8, 3)
    with pytest.raises(EffaceError, match=r"anna/2\.png: not a readable picture"):
        bad.pixels()
    with pytest.raises(EffaceError, match=r"anna/3\.png: cannot be read"):
        gone.pixels()


@pytest.mark.real
def test_folder_reads_orl(data: Path):
    people = Folder(path=data / "faces-orl" / "att_faces").read()
    assert list(people.photos) == [f"s{i}" for i in range(1, 41)]
    assert all([p.name for p in own] == [f"{who}/{i}.pgm" for i in range(1, 11)] for who, own in people.photos.items())
    assert people.photos["s40"][9].pixels().shape == (112, 92, 3)


# --- LFW ------------------------------------------------------------------------------------------------------------

ROWS = ["Ann_Lee\t1\t2", "Bo_Ek\t1\t2", "Ann_Lee\t1\tBo_Ek\t1", "Ann_Lee\t2\tCy\t1"]
"""One fold of two matched and two mismatched pairs."""


def lfw(root: Path, pairs: str, beside: bool = False) -> Path:
    for name, count in (("Ann_Lee", 2), ("Bo_Ek", 2), ("Cy", 1)):
        for number in range(1, count + 1):
            picture(root / "lfw" / name / f"{name}_{number:04d}.jpg")
    (root / ("." if beside else "lfw") / "pairs.txt").write_text(pairs)
    return root / "lfw"


@pytest.mark.parametrize("head", ["1\t2", "2"])
@pytest.mark.parametrize("beside", [True, False])
def test_lfw_with_pairs(tmp_path: Path, head: str, beside: bool):
    people = LFW(path=lfw(tmp_path, "\n".join([head, *ROWS]) + "\n", beside)).read()
    assert {who: len(own) for who, own in people.photos.items()} == {"Ann_Lee": 2, "Bo_Ek": 2, "Cy": 1}
    assert [(a.name, b.name, same) for a, b, same in people.pairs] == [
        ("Ann_Lee/Ann_Lee_0001.jpg", "Ann_Lee/Ann_Lee_0002.jpg", True),
        ("Bo_Ek/Bo_Ek_0001.jpg", "Bo_Ek/Bo_Ek_0002.jpg", True),
        ("Ann_Lee/Ann_Lee_0001.jpg", "Bo_Ek/Bo_Ek_0001.jpg", False),
        ("Ann_Lee/Ann_Lee_0002.jpg", "Cy/Cy_0001.jpg", False),
    ]
    assert people.pairs[0][0] is people.photos["Ann_Lee"][0] and not people.aligned


def test_lfw_in_the_official_ten_folds_of_300(tmp_path: Path):
    fold = ["Ann_Lee\t1\t2"] * 300 + ["Ann_Lee\t1\tCy\t1"] * 300
    people = LFW(path=lfw(tmp_path, "\n".join(["10\t300", *fold * 10]))).read()
    assert len(people.pairs) == 6000
    for start in range(0, 6000, 600):
        assert [same for *_, same in people.pairs[start : start + 600]] == [True] * 300 + [False] * 300


def test_lfw_pairs_given_by_path(tmp_path: Path):
    root = lfw(tmp_path, "broken")
    (tmp_path / "view1.txt").write_text("1\nAnn_Lee\t1\t2\nAnn_Lee\t1\tCy\t1\n")
    assert len(LFW(path=root, pairs=tmp_path / "view1.txt").read().pairs) == 2
    fails(LFW(path=root, pairs=tmp_path / "absent.txt"), "absent.txt", "found nothing")


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ("", ["pairs.txt", "empty"]),
        ("Ann_Lee\t1\t2\n", ["line 1", "(10 300)"]),
        ("\n".join(["10\t300", *ROWS]), ["found 4 pairs", "expected 6,000"]),
        ("\n".join(["1\t2", *ROWS[:3], "Ann_Lee"]), ["line 5", "`name number number`"]),
        ("\n".join(["1\t2", *ROWS[:3], "Ann_Lee\tone\ttwo"]), ["line 5", "`name number number`"]),
        ("\n".join(["1\t2", *ROWS[:3], "Ann_Lee\t1\tCy\t2"]), ["line 5", "Cy/Cy_0002.jpg", "is not in"]),
        ("\n".join(["1\t2", *ROWS[:3], "Ann_Lee\t1\tNobody\t1"]), ["line 5", "Nobody/Nobody_0001.jpg", "is not in"]),
    ],
)
def test_lfw_says_what_is_wrong_with_the_pairs(tmp_path: Path, pairs: str, words: list[str]):
    fails(LFW(path=lfw(tmp_path, pairs)), *words)


def test_lfw_without_pairs_or_people(tmp_path: Path):
    root = lfw(tmp_path, "")
    (root / "pairs.txt").unlink()
    fails(LFW(path=root), "found no pairs.txt", "faces.name=folder")
    fails(LFW(path=tmp_path / "absent"), "found nothing", "expected a folder")
    (tmp_path / "empty").mkdir()
    fails(LFW(path=tmp_path / "empty"), "found no folder")
    (root / "pairs.txt").write_bytes(b"10\t300\n\xff\xfe")
    fails(LFW(path=root), "pairs.txt", "cannot be read as text")


# --- CelebA ---------------------------------------------------------------------------------------------------------


def celeba(root: Path, official: bool = False) -> Path:
    """Six pictures: of person 7 one in each partition (never so in CelebA), of person 12 three for test."""
    img, anno, ev = ("Img/", "Anno/", "Eval/") if official else ("", "", "")
    for number in range(1, 7):
        picture(root / f"{img}img_align_celeba/{number:06d}.jpg", tone=number, size=(178, 218))
    for folder in (anno, ev):
        (root / folder).mkdir(exist_ok=True)
    people = [12, 7, 12, 7, 12, 7]
    parts = [2, 0, 2, 1, 2, 2]
    (root / f"{anno}identity_CelebA.txt").write_text("".join(f"{i + 1:06d}.jpg {p}\n" for i, p in enumerate(people)))
    (root / f"{ev}list_eval_partition.txt").write_text("".join(f"{i + 1:06d}.jpg {p}\n" for i, p in enumerate(parts)))
    return root


@pytest.mark.parametrize("official", [True, False])
def test_celeba_by_partition(tmp_path: Path, official: bool):
    celeba(tmp_path, official)
    sizes = {}
    for partition in ("train", "val", "test", "all"):
        people = CelebA(path=tmp_path, partition=partition).read()
        sizes[partition] = {who: [p.name for p in own] for who, own in people.photos.items()}
    assert sizes["train"] == {"7": ["7/000002.jpg"]} and sizes["val"] == {"7": ["7/000004.jpg"]}
    assert sizes["test"] == {"7": ["7/000006.jpg"], "12": ["12/000001.jpg", "12/000003.jpg", "12/000005.jpg"]}
    assert {who: len(names) for who, names in sizes["all"].items()} == {"7": 3, "12": 3}
    assert not people.aligned and people.photos["12"][0].pixels().shape == (218, 178, 3)


def test_celeba_needs_no_partition_for_all_and_only_the_pictures_of_its_part(tmp_path: Path):
    celeba(tmp_path)
    (tmp_path / "img_align_celeba/000002.jpg").unlink()  # a picture of train
    assert len(CelebA(path=tmp_path, partition="test").read()) == 2
    fails(CelebA(path=tmp_path, partition="train"), "names 000002.jpg", "is not in")
    (tmp_path / "list_eval_partition.txt").unlink()
    fails(CelebA(path=tmp_path, partition="test"), "list of partitions", "Eval/list_eval_partition.txt")
    fails(CelebA(path=tmp_path, partition="all"), "names 000002.jpg", "is not in")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("identity_CelebA.txt", None, ["list of identities", "identity_CelebA.txt or Anno/identity_CelebA.txt"]),
        ("identity_CelebA.txt", "", ["identity_CelebA.txt", "empty"]),
        ("identity_CelebA.txt", "000001.jpg 12\n000002.jpg\n", ["line 2", "a picture and a number"]),
        ("identity_CelebA.txt", "000001.jpg 12\n000001.jpg 7\n", ["000001.jpg again in line 2"]),
        ("list_eval_partition.txt", "000001.jpg 2\n", ["found nothing for 000002.jpg"]),
        ("list_eval_partition.txt", "".join(f"00000{i}.jpg 5\n" for i in range(1, 7)), ["found 5 for 000001.jpg"]),
        (
            "list_eval_partition.txt",
            "".join(f"00000{i}.jpg 0\n" for i in range(1, 7)),
            ["no picture of partition test"],
        ),
    ],
)
def test_celeba_says_what_is_wrong_with_a_list(tmp_path: Path, file: str, text: str | None, words: list[str]):
    path = celeba(tmp_path) / file
    path.unlink() if text is None else path.write_text(text)
    fails(CelebA(path=tmp_path), *words)


def test_celeba_without_pictures(tmp_path: Path):
    fails(CelebA(path=tmp_path), "folder of pictures", "img_align_celeba or Img/img_align_celeba")
    fails(CelebA(path=tmp_path / "absent"), "found nothing")
    (tmp_path / "img_align_celeba").write_bytes(b"")
    fails(CelebA(path=tmp_path), "img_align_celeba", "found a file", "expected a folder of pictures")


# --- VGGFace2 -------------------------------------------------------------------------------------------------------


def test_vggface2_by_part(tmp_path: Path):
    for part, person in (("train", "n000002"), ("test", "n000001"), ("test", "n000009")):
        for name in ("0001_01.jpg", "0002_01.jpg", "0010_02.jpg"):
            picture(tmp_path / part / person / name)
    assert list(VGGFace2(path=tmp_path, part="train").read().photos) == ["n000002"]
    people = VGGFace2(path=tmp_path).read()
    assert list(people.photos) == ["n000001", "n000009"] and not people.aligned
    assert [p.name.split("/")[1] for p in people.photos["n000001"]] == ["0001_01.jpg", "0002_01.jpg", "0010_02.jpg"]


def test_vggface2_says_what_is_wrong(tmp_path: Path):
    fails(VGGFace2(path=tmp_path / "absent"), "found nothing")
    fails(VGGFace2(path=tmp_path), "test: found nothing", "folders such as n000001")
    (tmp_path / "test").mkdir()
    fails(VGGFace2(path=tmp_path), "found no folder")
    picture(tmp_path / "test" / "Ann_Lee" / "1.jpg")
    fails(VGGFace2(path=tmp_path), "test/Ann_Lee", "expected names such as n000001", "faces.name=folder")


# --- verification sets ----------------------------------------------------------------------------------------------


def encoded(tone: int) -> bytes:
    """A JPEG of one tone, 112 × 112."""
    buffer = io.BytesIO()
    Image.new("RGB", (112, 112), (tone, tone, tone)).save(buffer, "JPEG")
    return buffer.getvalue()


def python2(pictures: list[bytes], same: list[bool]) -> bytes:
    """The bytes that Python 2's cPickle.dumps((pictures, same), 2) writes, opcode by opcode: its str are BINSTRINGs."""
    strings = b"".join(b"T" + struct.pack("<i", len(p)) + p for p in pictures)
    truths = b"".join(b"\x88" if s else b"\x89" for s in same)
    return b"\x80\x02](" + strings + b"e](" + truths + b"e\x86."


@pytest.mark.parametrize(
    "dump",
    [
        python2,
        lambda pictures, same: pickle.dumps((pictures, same), protocol=4),
        lambda pictures, same: pickle.dumps((pictures, same), protocol=2),
        lambda pictures, same: pickle.dumps(([np.frombuffer(p, np.uint8) for p in pictures], same), protocol=4),
    ],
    ids=["python 2", "python 3", "python 3, protocol 2", "arrays of bytes"],
)
def test_verification_sets(tmp_path: Path, dump):  # type: ignore[no-untyped-def]
    pictures = [encoded(t) for t in (10, 20, 30, 40, 50, 60)]
    (tmp_path / "lfw.bin").write_bytes(dump(pictures, [True, False, True]))
    people = Verification(path=tmp_path / "lfw.bin").read()
    assert people.aligned and len(people) == 6 and all(len(own) == 1 for own in people.photos.values())
    assert list(people.photos)[:3] == ["pair-00001-a", "pair-00001-b", "pair-00002-a"]
    assert [(a.name, b.name, same) for a, b, same in people.pairs] == [
        ("pair-00001-a", "pair-00001-b", True),
        ("pair-00002-a", "pair-00002-b", False),
        ("pair-00003-a", "pair-00003-b", True),
    ]
    assert [people.photos[name][0].pixels()[0, 0, 0] for name in people.photos] == pytest.approx(
        [10, 20, 30, 40, 50, 60], abs=2
    )


def test_verification_sets_that_are_none(tmp_path: Path):
    path = tmp_path / "lfw.bin"
    fails(Verification(path=path), "found nothing", "such as lfw.bin")
    fails(Verification(path=tmp_path), "found a folder", "expected a file")
    path.write_bytes(b"no pickle")
    fails(Verification(path=path), "lfw.bin")
    path.write_bytes(pickle.dumps(([b"a", b"b", b"c"], [True])))
    fails(Verification(path=path), "found 3 pictures and 1 answers")
    path.write_bytes(pickle.dumps(([], [])))
    fails(Verification(path=path), "found no pair")


def test_a_hostile_verification_set_runs_nothing(tmp_path: Path):
    class Hostile:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return os.mkdir, (str(tmp_path / "made"),)

    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([b"a", b"b"], [Hostile()])))
    fails(Verification(path=tmp_path / "lfw.bin"), "lfw.bin", "mkdir")
    assert not (tmp_path / "made").exists()


# --- the page about them --------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_page_are_understood():
    """Each names a reader and its fields; all readers but the one without identities are there."""
    named: set[str] = set()
    for command in blocks("sh"):
        words = shlex.split(command.replace("\\\n", ""))
        assert words[:2] == ["efface", "evaluate"]
        given = dict(zip(words[2::2], words[3::2], strict=True))
        settings = [value for key, value in zip(words[2::2], words[3::2], strict=True) if key == "--set"]
        model = {"name": given["--model"]} | ({"weights": given["--weights"]} if "--weights" in given else {})
        named.add(config.load(None, settings, {"model": model}).faces.name)
    assert named == set(registry.names("faces.datasets")) - {"verification"}


def test_the_configuration_of_the_page_is_understood(tmp_path: Path):
    (block,) = blocks("yaml")
    (tmp_path / "run.yaml").write_text("model: tiny\n" + block)
    loaded = config.load(tmp_path / "run.yaml")
    assert loaded.faces.value == CelebA(path=Path("CelebA"), partition="train") and loaded.forget == ("2880", "2937")


def test_the_python_of_the_page_runs(tmp_path: Path):
    (tmp_path / "lfw.bin").write_bytes(python2([encoded(10), encoded(20)], [True]))
    (block,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "(112, 112, 3) same person\n"
