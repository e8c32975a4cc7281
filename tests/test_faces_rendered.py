"""Reading rendered photos back: three forms, one content; and everything that can be wrong with them."""

import dataclasses
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from efface.errors import EffaceError
from efface.faces.alignment import TEMPLATE, align, warp
from efface.faces.datasets import people as shipped
from efface.faces.datasets.people import ShippedPeople
from efface.faces.datasets.rendered import Rendered
from efface.faces.people import People, Photo
from efface.faces.rendering import records
from efface.faces.rendering.reading import album
from efface.faces.rendering.reading import records as read_records
from efface.faces.rendering.record import PhotoRecord
from efface.faces.rendering.writing import Format, Order, _Store, numbers
from efface.folder import run_folder
from rendered_photos import EXPRESSIONS, heads, photo

FORMS: tuple[Format, ...] = ("folder", "shards", "pack")


def written(folder: Path, form: Format, people: str = "0-2,100,1000", photos: str = "0-1,11") -> Path:
    """A folder as `efface render` writes it, of made-up pictures; everybody is done in another order."""
    order = Order(people=numbers(people, ""), photos=numbers(photos, ""), format=form)
    with run_folder(folder / form, "{}", False, print, told="render.json") as unfinished:
        store = _Store(unfinished, order, heads())
        for person in reversed(order.people):
            made = (photo(person, number) for number in order.photos)
            store.keep(person, [(picture, records.to_line(record)) for picture, record in made])
        store.finish()
    return folder / form


def assert_equal(one: PhotoRecord, other: PhotoRecord) -> None:
    for field in dataclasses.fields(PhotoRecord):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype == np.float32
            np.testing.assert_array_equal(a, b, err_msg=field.name)
        else:
            assert a == b, field.name


@pytest.mark.parametrize("form", FORMS)
def test_photos_and_records_come_back(tmp_path: Path, form: Format):
    root = written(tmp_path, form)
    people = Rendered(path=root).read()
    assert list(people.photos) == ["person-000", "person-001", "person-002", "person-100", "person-1000"]
    assert not people.aligned
    found = read_records(root)
    for person, own in people.photos.items():
        assert [p.name for p in own] == [f"{person}/{n}.jpg" for n in ("00", "01", "11")]
        for p in own:
            picture, record = photo(int(person.removeprefix("person-")), int(p.name[-6:-4]))
            assert p.encoded() == picture
            got = found[p.name]
            assert (got.person, got.photo, got.glasses) == (record.person, record.photo, record.glasses)
            for name, digits in (("camera", 6), ("landmarks", 2), ("five", 2), ("alignment", 6)):
                assert np.abs(getattr(got, name) - getattr(record, name)).max() <= 0.51 * 10**-digits + 1e-5, name
            assert p.alignment == tuple(got.alignment.astype(float).ravel())
            assert got.expression == {k: round(v, 3) for k, v in record.expression.items() if round(v, 3)}
            assert got.light == {k: [round(x, 4) for x in v] for k, v in record.light.items()}


def test_the_three_forms_hold_the_same(tmp_path: Path):
    folder, shards, pack = (list(album(written(tmp_path, form))) for form in FORMS)
    for one, *others in zip(folder, shards, pack, strict=True):
        for other in others:
            assert one[0].name == other[0].name and one[0].alignment == other[0].alignment
            assert_equal(one[1], other[1])


def test_reading_needs_neither_numba_nor_webdataset_nor_torch(tmp_path: Path):
    roots = [str(written(tmp_path, form)) for form in FORMS]
    code = (
        "import sys\nfrom pathlib import Path\nfrom efface.faces.datasets.rendered import Rendered\n"
        f"for root in {roots!r}: assert len(Rendered(path=Path(root)).read()) == 5\n"
        "assert not {'numba', 'webdataset', 'torch'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_known_alignment_needs_no_detector(tmp_path: Path):
    people = Rendered(path=written(tmp_path, "pack")).read()
    crops, notes = align(people)
    assert notes.photos == 15 and notes.no_face == () and len(crops) == 15
    first = people.photos["person-000"][0]
    matrix = np.reshape(first.alignment or (), (2, 3))
    np.testing.assert_array_equal(crops.pixels[0].permute(1, 2, 0).numpy(), warp(first.pixels(), matrix))
    # the matrix takes the photo's landmarks to the template
    five = read_records(tmp_path / "pack")["person-000/00.jpg"].five
    assert np.abs(five @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE).max() < 3
    with pytest.raises(EffaceError, match="not aligned crops"):
        align(People.of([*people.photos["person-000"], Photo("x", "x/1.jpg", data=first.encoded())]))


def test_people_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shipped, "PACK", tmp_path / "pack")  # an installation without the pack; then a pack of 5
    with pytest.raises(EffaceError, match=r"people\.tar: this installation came without the people pack") as caught:
        ShippedPeople().read()
    assert "\n" not in str(caught.value)
    written(tmp_path, "pack")
    assert len(ShippedPeople().read()) == 5


def fails(root: Path, *words: str) -> None:
    with pytest.raises(EffaceError) as caught:
        Rendered(path=root).read()
    line = str(caught.value)
    assert "\n" not in line
    for word in words:
        assert word in line, line


def test_a_folder_of_something_else(tmp_path: Path):
    fails(tmp_path / "absent", "found nothing", "that efface render wrote")
    fails(tmp_path, "found none of photos.jsonl, shard-*.tar and people.tar", "faces.name=folder")


def test_a_damaged_folder(tmp_path: Path):
    root = written(tmp_path, "folder")
    lines = (root / "photos.jsonl").read_text().splitlines(keepends=True)
    assert len(lines) == 15

    def second(change: dict, *words: str) -> None:
        line = json.dumps(json.loads(lines[1]) | change) + "\n"
        (root / "photos.jsonl").write_text(lines[0] + line)
        fails(root, "photos.jsonl, line 2", *words)

    second({"camera": [1.0] * 24}, "camera of shape (24,), expected (25,)")
    second({"landmarks": "x"}, "found no record of a photo")
    second({"photo": "1"}, "found '1', expected int")
    second({"light": {"key": [1, 2, 3]}}, "found 3 numbers of light, expected 6")
    second({"photo": 77}, "names person-000/77.jpg, which is not there")
    (root / "photos.jsonl").write_text(lines[0] + lines[1][:50])
    fails(root, "photos.jsonl, line 2", "found no record")
    (root / "photos.jsonl").write_text("")
    fails(root, "found an empty file")


@pytest.mark.parametrize(("form", "name"), [("shards", "shard-000000.tar"), ("pack", "people.tar")])
def test_a_tar_that_is_cut_or_none(tmp_path: Path, form: Format, name: str):
    root = written(tmp_path, form)
    whole = (root / name).read_bytes()
    with tarfile.open(root / name) as tar:
        members = tar.getmembers()
    header, content = members[-1].offset + 300, members[-1].offset_data + 20
    for cut in (0, 100, 700, members[3].offset_data + 5, header, content, members[-1].offset_data + members[-1].size):
        (root / name).write_bytes(whole[:cut])
        fails(root, name, "render or fetch it again")
    (root / name).write_bytes(b"no tar" * 1000)
    fails(root, name, "not readable as a tar")
    with tarfile.open(root / name, "w") as tar:
        tar.add(tmp_path, "../escaped", recursive=False)
    fails(root, name, "found '../escaped', expected photos such as person-000/00.jpg")


def test_a_shard_without_a_record_or_photo(tmp_path: Path):
    root = written(tmp_path, "shards")
    with tarfile.open(root / "shard-000000.tar") as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
    for left_out, said in ((0, "found person-000/00.json without its photo"), (1, "person-000/00.jpg without its rec")):
        with tarfile.open(root / "shard-000000.tar", "w") as tar:
            for i, (member, content) in enumerate(members):
                if i != left_out:
                    tar.addfile(member, io.BytesIO(content))
        fails(root, said)


def test_a_pack_that_does_not_fit_together(tmp_path: Path):
    root = written(tmp_path, "pack")
    others = written(tmp_path / "other", "pack", people="0-3")
    shutil.copy(others / "people.safetensors", root)
    fails(root, "people.safetensors", "of shape (12, 25), expected (15, 25)")
    (root / "people.safetensors").write_bytes(b"nothing")
    fails(root, "people.safetensors: not readable as safetensors")
    (root / "people.safetensors").unlink()
    fails(root, "people.safetensors: found nothing, expected a file of the records of people.tar")


def test_landmarks_far_outside_the_picture_are_kept():
    _, record = photo(0, 3)
    far = dataclasses.replace(record, landmarks=record.landmarks + 1000)
    arrays, metadata = records.to_arrays([far], EXPRESSIONS)
    (found,) = records.from_arrays(arrays, metadata, ["person-000/03.jpg"], "here")
    assert np.abs(found.landmarks - far.landmarks).max() < 0.0052
    assert_equal(found, records.from_line(records.to_line(far), "here"))


def test_the_python_of_the_page_runs(tmp_path: Path):
    page = (Path(__file__).parents[1] / "docs" / "rendering.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    written(tmp_path, "shards").rename(tmp_path / "photos")
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("(25,) (68, 2) {'browDown_L': 0.")
