"""The cache of aligned crops: by content, damaged, shared between processes, cleared."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from efface.errors import EffaceError
from efface.faces.alignment import align_photo, content_key
from efface.faces.cache import CropCache, Found
from efface.faces.detection import Detector
from efface.faces.people import Photo

KEY = "ab" * 32


def found(value: int, faces: int = 1) -> Found:
    return Found(faces, np.full((112, 112, 3), value, np.uint8) if faces else None)


def same(one: Found | None, other: Found) -> bool:
    return one is not None and one.faces == other.faces and np.array_equal(one.crop, other.crop)


@pytest.fixture
def cache(tmp_path) -> CropCache:
    return CropCache(tmp_path / "crops")


def entry(cache: CropCache):
    return cache.folder / KEY[:2] / KEY


def test_what_was_put_is_got(cache):
    assert cache.get(KEY) is None
    cache.put(KEY, found(7, faces=3))
    assert same(cache.get(KEY), found(7, faces=3))
    cache.put(KEY, found(0, faces=0))  # that there is no face is kept too
    assert cache.get(KEY) == Found(0, None)


def test_only_the_owner_may_look(cache):
    cache.put(KEY, found(7))
    assert entry(cache).stat().st_mode & 0o077 == 0
    assert cache.folder.stat().st_mode & 0o077 == 0 and entry(cache).parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "header"])
def test_a_damaged_entry_counts_as_none(cache, damage):
    cache.put(KEY, found(7))
    content = bytearray(entry(cache).read_bytes())
    if damage == "flip":
        content[5000] ^= 1
    else:
        content = content[: {"cut": 30000, "empty": 0, "header": 33}[damage]]
    entry(cache).write_bytes(content)
    assert cache.get(KEY) is None
    cache.put(KEY, found(8))
    assert same(cache.get(KEY), found(8))


def test_an_unwritable_cache_warns_once_and_is_not_fatal(tmp_path, recwarn):
    (tmp_path / "file").write_text("in the way")
    cache = CropCache(tmp_path / "file" / "crops")
    cache.put(KEY, found(7))
    cache.put(KEY, found(7))
    assert [str(w.message) for w in recwarn if "not cached" in str(w.message)] == [
        f"{cache.folder}: aligned faces are not cached (Not a directory); set EFFACE_CACHE"
    ]
    assert cache.get(KEY) is None


def test_clearing_deletes_entries_and_nothing_else(cache):
    cache.put(KEY, found(7))
    cache.put("cd" * 32, found(8))
    (cache.folder / "cd" / f"{'ef' * 32}.x1_y2.tmp").write_bytes(b"left by a killed process")
    (cache.folder / "cd" / "mine.txt").write_text("not a crop")
    assert cache.clear() == 3
    assert [p.name for p in cache.folder.rglob("*")] == ["cd", "mine.txt"]
    (cache.folder / "cd" / "mine.txt").unlink()
    assert cache.clear() == 0 and not cache.folder.exists()
    assert cache.clear() == 0


WRITER = """
import itertools, sys
from pathlib import Path
import numpy as np
from efface.faces.cache import CropCache, Found
cache, first = CropCache(Path(sys.argv[1])), int(sys.argv[2])
for turn in itertools.count(first, 2):
    cache.put("ab" * 32, Found(1, np.full((112, 112, 3), turn % 256, np.uint8)))
    if (cache.folder.parent / "stop").exists():
        break
"""


def test_two_processes_may_share_it(cache):
    """One writes even values, the other odd ones, into the same entry, while we read it."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(cache.folder), str(i)]) for i in (0, 1)]
    seen, start = set(), time.monotonic()
    while not {0, 1} <= {value % 2 for value in seen} or len(seen) < 20:
        assert time.monotonic() < start + 120 and all(w.poll() is None for w in writers)
        if entry(cache).exists():
            now = cache.get(KEY)  # a half-written or mixed entry would be None, or of two values
            assert now is not None and now.crop is not None and now.crop.min() == now.crop.max()
            seen.add(int(now.crop.min()))
    (cache.folder.parent / "stop").touch()
    assert [w.wait(60) for w in writers] == [0, 0]
    assert [p.name for p in entry(cache).parent.iterdir()] == [KEY]


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("EFFACE_CACHE", str(tmp_path))
    assert CropCache.default().folder == tmp_path / "crops"
    monkeypatch.delenv("EFFACE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert CropCache.default().folder == tmp_path / ".cache" / "efface" / "crops"


@pytest.mark.real
def test_photos_are_known_by_their_content(cache, data):
    detector = Detector.load(data / "detector-mtcnn")
    photo = Photo("s1", "s1/1.pgm", data / "faces-orl" / "att_faces" / "s1" / "1.pgm")
    key = content_key(photo, detector)
    first = align_photo(photo, detector, cache)
    assert first.faces == 1 and same(cache.get(key), first)
    cache.put(key, found(9))  # seen again: the cache answered
    assert same(align_photo(replace(photo, name="other/name"), detector, cache), found(9))
    changed = replace(photo, data=photo.encoded() + b" ")
    assert same(align_photo(changed, detector, cache), first)
    assert content_key(changed, detector) != key
    detector.digest = "0" * 64
    assert content_key(photo, detector) != key


@pytest.mark.real
def test_a_broken_photo_is_not_cached(cache, data):
    detector = Detector.load(data / "detector-mtcnn")
    with pytest.raises(EffaceError, match="s1/1: not a readable picture"):
        align_photo(Photo("s1", "s1/1", data=b"no picture"), detector, cache)
    assert not cache.folder.exists()
