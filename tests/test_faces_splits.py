"""The protocol's lines 1 to 3: as stated for ORL, and as properties of any set of people."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import dctn

from efface.errors import EffaceError
from efface.faces.crops import SIZE, Crops
from efface.faces.datasets.folder import Folder
from efface.faces.duplicates import distances, perceptual_hashes
from efface.faces.people import natural_key
from efface.faces.splits import NEAR, Split, orl_set, split

NOISE = torch.randint(0, 256, (128, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
"""Pictures that differ, small so that many examples run; the split does not mind the size."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The pictures are tiny: threads would only wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def crops_of(pictures: dict[str, list[int]]) -> Crops:
    """Person -> which picture of NOISE each of the person's photos is."""
    rows = [(who, f"{who}/{i}.png", picture) for who, own in pictures.items() for i, picture in enumerate(own, start=1)]
    return Crops(NOISE[[r[2] for r in rows]], tuple(r[0] for r in rows), tuple(r[1] for r in rows))


def people(count: int, photos: int = 10) -> Crops:
    """s1 … s`count`, each with so many different photos."""
    return crops_of({f"s{i}": [i * photos + j for j in range(photos)] for i in range(1, count + 1)})


def names(crops: Crops, groups: Split, part: str) -> dict[str, list[str]]:
    return {who: [crops.names[i] for i in own] for who, own in getattr(groups, part).items()}


# --- ORL, as the protocol states it ---------------------------------------------------------------------------------


def orl() -> Crops:
    """ORL's names in no order, with pictures that all differ."""
    rows = [(f"s{i}", f"s{i}/{j}.pgm") for i in range(1, 41) for j in range(1, 11)]
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1)).tolist()
    pixels = torch.arange(400)[:, None, None, None].expand(400, 3, 2, 2)
    pixels = torch.stack([pixels[:, 0] // 256, pixels[:, 1] % 256, pixels[:, 2] % 7], 1).to(torch.uint8)
    return Crops(pixels[order], tuple(rows[i][0] for i in order), tuple(rows[i][1] for i in order))


@pytest.mark.parametrize("k", range(10))
def test_orl_gives_four_twenty_sixteen_and_five_five(k: int):
    crops = orl()
    groups = split(crops, orl_set(k))
    assert groups.forget == tuple(f"s{i}" for i in range(4 * k + 1, 4 * k + 5))
    rest = [f"s{(4 * k + 4 + i) % 40 + 1}" for i in range(36)]
    assert set(groups.retain) == set(rest[:20]) and set(groups.holdout) == set(rest[20:])
    for group in (groups.forget, groups.retain, groups.holdout):
        assert list(group) == sorted(group, key=natural_key)
    seen, unseen = names(crops, groups, "seen"), names(crops, groups, "unseen")
    assert set(seen) == {*groups.forget, *groups.retain} and set(unseen) == set(crops.identities)
    assert all(own == [f"{who}/{i}.pgm" for i in range(1, 6)] for who, own in seen.items())
    assert all(own == [f"{who}/{i}.pgm" for i in range(6, 11)] for who, own in unseen.items())
    assert groups.identical == () and groups.shared == ()


def test_orl_sets_are_ten_and_part_the_people():
    assert sorted((who for k in range(10) for who in orl_set(k)), key=natural_key) == [f"s{i}" for i in range(1, 41)]
    for k in (-1, 10):
        with pytest.raises(EffaceError, match="expected 0 to 9"):
            orl_set(k)


def test_the_rest_begins_after_the_last_of_the_forgotten():
    groups = split(people(10), ["s9", "s2"])
    assert groups.forget == ("s2", "s9")
    assert groups.retain == ("s1", "s3", "s4", "s10")  # s10, s1, s3, s4: round(5 · 8 / 9) = 4 of eight
    assert groups.holdout == ("s5", "s6", "s7", "s8")


def test_without_a_forgotten_person_the_rest_begins_at_the_first():
    groups = split(people(9), [])
    assert groups.forget == () and groups.retain == ("s1", "s2", "s3", "s4", "s5")
    assert groups.holdout == ("s6", "s7", "s8", "s9")


def test_retained_people_can_be_chosen():
    groups = split(people(6), ["s3"], ["s6", "s1"])
    assert (groups.forget, groups.retain, groups.holdout) == (("s3",), ("s1", "s6"), ("s2", "s4", "s5"))


def test_five_ninths_never_end_in_a_half():
    """So rounding to even, as Python does, and rounding up agree."""
    for n in range(10_000):
        assert (10 * n) % 18 != 9 and round(5 * n / 9) == math.floor(5 * n / 9 + 0.5)


# --- any set of people ----------------------------------------------------------------------------------------------


@st.composite
def sets_of_people(draw: st.DrawFn) -> tuple[Crops, list[str], list[str]]:
    """Crops in any order, with pictures that may repeat within and between people; whom to forget; whom to retain."""
    ids = draw(st.lists(st.text("aA09s²", min_size=1, max_size=3), min_size=1, max_size=9, unique=True))
    pictures = {who: draw(st.lists(st.integers(0, 63), min_size=1, max_size=13)) for who in ids}
    crops = crops_of(pictures)
    crops = crops.take(draw(st.permutations(range(len(crops)))))
    many = [who for who in ids if len(pictures[who]) >= 3]
    forget = draw(st.lists(st.sampled_from(many), unique=True, max_size=3)) if many else []
    others = [who for who in ids if who not in forget]
    retain = draw(st.lists(st.sampled_from(others), unique=True, max_size=3)) if others else []
    return crops, forget, retain


def by_name(crops: Crops, groups: Split) -> tuple[object, ...]:
    """The split without positions, to compare two orders of the crops."""
    parts = [names(crops, groups, part) for part in ("seen", "unseen", "photos")]
    return groups.forget, groups.retain, groups.holdout, *parts, groups.identical, groups.shared, groups.near_duplicates


@settings(max_examples=150, deadline=None)
@given(sets_of_people(), st.randoms())
def test_properties_of_every_split(drawn: tuple[Crops, list[str], list[str]], random):  # type: ignore[no-untyped-def]
    crops, forget, retain = drawn
    try:
        groups = split(crops, forget, retain)
    except EffaceError as error:  # every seen photo of a forgotten person is a copy of an unseen one
        assert "again among the unseen ones" in str(error)
        return
    order = sorted(set(crops.identities), key=natural_key)
    assert sorted((*groups.forget, *groups.retain, *groups.holdout), key=natural_key) == order
    assert set(groups.forget) == set(forget)
    rest = len(order) - len(forget)
    assert len(groups.retain) == (len(retain) or round(5 * rest / 9))
    raw = [p.numpy().tobytes() for p in crops.pixels]
    for who in order:
        own = sorted((i for i, p in enumerate(crops.identities) if p == who), key=lambda i: natural_key(crops.names[i]))
        m = len(own)
        assert list(groups.photos[who]) == own
        assert list(groups.unseen[who]) == own[m - math.ceil(m / 2) :]
        if who in groups.holdout:
            assert who not in groups.seen
        else:
            first = own[: min(5, m // 2)]
            dropped = [i for i in first if i not in groups.seen[who]]
            assert set(groups.seen[who]) <= set(first) and not set(groups.seen[who]) & set(groups.unseen[who])
            assert {crops.names[i] for i in dropped} <= set(groups.identical)
    hidden = {i for own in groups.unseen.values() for i in own}
    hidden |= {i for i, who in enumerate(crops.identities) if who in groups.holdout}
    given_away = {i for own in groups.seen.values() for i in own}
    assert not {raw[i] for i in given_away} & {raw[i] for i in hidden}
    for name in groups.identical:
        assert raw[crops.names.index(name)] in {raw[i] for i in hidden}
    for group in groups.shared:
        positions = [crops.names.index(name) for name in group]
        assert len({raw[i] for i in positions}) == 1 and len({crops.identities[i] for i in positions}) > 1
    again = list(range(len(crops)))
    random.shuffle(again)
    shuffled = crops.take(again)
    assert by_name(shuffled, split(shuffled, forget[::-1], retain[::-1])) == by_name(crops, groups)


# --- the same picture twice -----------------------------------------------------------------------------------------


def test_a_seen_photo_with_an_unseen_twin_is_left_out():
    crops = crops_of({"a": [0, 1, 2, 3, 1, 4], "b": [10, 11, 12, 13], "c": [20, 21], "d": [30, 31]})
    groups = split(crops, ["a"])
    assert names(crops, groups, "seen")["a"] == ["a/1.png", "a/3.png"]
    assert names(crops, groups, "unseen")["a"] == ["a/4.png", "a/5.png", "a/6.png"]
    assert groups.identical == ("a/2.png",) and groups.shared == ()


def test_a_photo_of_two_people_is_reported_and_kept_from_the_method():
    crops = crops_of({"a": [0, 1, 2, 3], "b": [0, 11, 12, 3], "c": [20, 21], "d": [11, 31], "e": [1, 12]})
    groups = split(crops, ["a"], ["b"])
    assert groups.shared == (("a/1.png", "b/1.png"), ("a/2.png", "e/1.png"), ("a/4.png", "b/4.png"),
                             ("b/2.png", "d/1.png"), ("b/3.png", "e/2.png"))  # fmt: skip
    assert groups.identical == ("a/2.png", "b/2.png")  # held-out e and d have them; a/1 and b/1 are seen on both sides
    assert names(crops, groups, "seen") == {"a": ["a/1.png"], "b": ["b/1.png"]}


def test_near_duplicates_are_counted_within_a_person_and_stay(generator: torch.Generator):
    smooth = torch.rand(8, 3, 5, 5, generator=generator) * 200 + 20
    pixels = torch.nn.functional.interpolate(smooth, (SIZE, SIZE), mode="bicubic").clamp(0, 255).to(torch.uint8)
    nearly = pixels[0].clone()
    nearly[:, :3, :3] += 1
    own = torch.stack([pixels[0], pixels[1], pixels[2], nearly, pixels[3], pixels[4], nearly, pixels[5]])
    identities = ("a",) * 6 + ("b",) * 2
    crops = Crops(own, identities, tuple(f"{who}/{i}" for i, who in enumerate(identities)))
    groups = split(crops, ["a"], ["b"])
    assert groups.near_duplicates == (("a/0", "a/3"),)  # b's copy of it is another person's
    assert names(crops, groups, "seen")["a"] == ["a/0", "a/1", "a/2"] and groups.shared == (("a/3", "b/6"),)


def test_the_perceptual_hash_is_that_of_scipys_dct(generator: torch.Generator):
    pixels = torch.randint(0, 256, (6, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    for crop, found in zip(pixels, perceptual_hashes(pixels), strict=True):
        luma = crop.permute(1, 2, 0).numpy() @ np.array([0.299, 0.587, 0.114])
        small = Image.fromarray(luma.astype(np.float32), "F").resize((32, 32), Image.Resampling.BILINEAR)
        low = dctn(np.asarray(small, np.float64), type=2)[:8, :8]
        margin = np.abs(low - np.median(low))
        agree = (low > np.median(low)).ravel() == found.numpy()
        assert agree[margin.ravel() > 1].all()  # values near 1e3; float32 in Pillow
        assert found.sum() == 32


def test_hash_distances_count_bits():
    first = torch.zeros(2, 64, dtype=torch.bool)
    second = first.clone()
    second[1, :7] = True
    assert distances(first, second).tolist() == [[0, 7], [0, 7]]
    flat = torch.full((2, 3, SIZE, SIZE), 90, dtype=torch.uint8)
    flat[1] = 200
    assert distances(*perceptual_hashes(flat)[:, None].unbind(0)).item() == 0  # no noise decides a flat picture's bits


@pytest.mark.real
def test_hash_distances_of_real_people(data: Path):
    """Unaligned ORL: near photos are common within a person, and there are none between people."""
    photos = [p for own in Folder(path=data / "faces-orl" / "att_faces").read().photos.values() for p in own]
    sized = [np.asarray(Image.fromarray(p.pixels()).resize((SIZE, SIZE))) for p in photos]
    found = perceptual_hashes(torch.from_numpy(np.stack(sized)).permute(0, 3, 1, 2))
    near = distances(found, found) <= NEAR
    same = torch.tensor([[a.identity == b.identity for a in photos] for b in photos])
    assert not near[~same].any() and int(near[same].sum()) > len(photos)


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forget", "retain", "words"),
    [
        (["s41"], [], ["forget: found 's41'", "one of the 12 people", "the nearest name is 's4'"]),
        (["S 12"], [], ["the nearest name is 's12'"]),
        (["zzz"], [], ["the nearest name is"]),
        (["s1", "s2", "s1"], [], ["forget: found 's1' more than once"]),
        (["s1"], ["s2", "s99"], ["retain: found 's99'", "the nearest name is 's9'"]),
        (["s1"], ["s2", "s2"], ["retain: found 's2' more than once"]),
        (["s1", "s10", "s2"], ["s10", "s2", "s3"], ["found s2, s10 in both forget and retain"]),
    ],
)
def test_mistaken_names(forget: list[str], retain: list[str], words: list[str]):
    with pytest.raises(EffaceError) as caught:
        split(people(12, 4), forget, retain)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), caught.value


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_photos_to_forget_somebody(count: int):
    pictures = {"a": list(range(count)), "b": [10], "c": [20, 21], "d": [30]}
    with pytest.raises(EffaceError, match=rf"forget: found {count} photo\(s\) of a with a face, expected at least 3"):
        split(crops_of(pictures), ["a"])
    groups = split(crops_of(pictures), [])  # as one of the others the person may stay
    assert {who: len(own) for who, own in groups.unseen.items()} == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert len(split(crops_of(pictures | {"a": [0, 1, 2]}), ["a"]).seen["a"]) == 1


def test_nothing_left_to_forget_from():
    with pytest.raises(EffaceError, match="every seen photo of a again among the unseen ones"):
        split(crops_of({"a": [0, 0, 0], "b": [1, 2]}), ["a"])


def test_photos_twice_and_no_photos():
    crops = people(3, 3)
    with pytest.raises(EffaceError, match=r"found the photo s1/1\.png of s1 2 times"):
        split(crops.take([0, 0, 1, 2, 3]), ["s1"])
    with pytest.raises(EffaceError, match="found no photo with a face"):
        split(crops.take([]), [])
