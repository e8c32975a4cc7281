"""Who and which photos are forget, retain and holdout, seen and unseen: the protocol's lines 1 to 3."""

import difflib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from efface.errors import EffaceError
from efface.faces.crops import Crops
from efface.faces.duplicates import digests, distances, perceptual_hashes
from efface.faces.people import natural_key

NEAR = 4
"""Largest distance of two perceptual hashes, in bits of 64, at which photos count as near-duplicates."""


@dataclass(frozen=True)
class Split:
    """Positions of crops, by person. Groups are in natural order."""

    forget: tuple[str, ...]
    retain: tuple[str, ...]
    holdout: tuple[str, ...]
    seen: Mapping[str, tuple[int, ...]]
    """Identity -> positions in the crops that a method may use (for retained and forgotten people)."""
    unseen: Mapping[str, tuple[int, ...]]
    """Identity -> positions that only the audit uses."""
    identical: tuple[str, ...] = ()
    """Photos that were taken out of `seen` because an unseen or holdout photo has the same pixels."""
    shared: tuple[tuple[str, ...], ...] = ()
    """Photos with the same pixels under the names of several people, one tuple for each picture; reported only."""
    near_duplicates: tuple[tuple[str, str], ...] = ()
    """(seen, unseen) photos of one person whose perceptual hashes differ in at most `NEAR` bits; reported only."""
    photos: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Identity -> all positions. With more than 10 photos some are neither seen nor unseen, yet the impostor pairs
    take them all (lines 5 and 12). A person who is not named here has only the seen and unseen ones."""


def split(crops: Crops, forget: Sequence[str], retain: Sequence[str] = ()) -> Split:
    """Protocol lines 1–3 (see docs/protocol.md) for any set of people and any choice of whom to forget.

    forget: identities; empty for an evaluation alone.
    retain: exactly these are retained and all others held out; empty: the protocol's own choice.
    Raises EffaceError for an unknown person, one named twice or in both groups, a photo that is there twice, or a
    person to forget with too few photos.
    """
    photos = _photos(crops)
    check_request(photos, forget, retain)
    people = list(photos)
    asked = set(forget)
    forgotten = tuple(p for p in people if p in asked)
    after = people.index(forgotten[-1]) + 1 if forgotten else 0
    rest = [p for p in people[after:] + people[:after] if p not in asked]
    # 5n/9 never ends in .5 (10n would be 9 times an odd number), so every way of rounding gives the same
    chosen = set(retain or rest[: round(5 * len(rest) / 9)])
    retained = tuple(p for p in people if p in chosen)
    holdout = tuple(p for p in people if p not in chosen and p not in asked)
    unseen = {p: own[len(own) // 2 :] for p, own in photos.items()}
    judged = {*(i for own in unseen.values() for i in own), *(i for p in holdout for i in photos[p])}
    seen, identical, shared = _without_identical(
        crops, {p: photos[p][: min(5, len(photos[p]) // 2)] for p in (*forgotten, *retained)}, judged
    )
    for who in forgotten:
        if not seen[who]:
            raise EffaceError(
                f"forget: found every seen photo of {who} again among the unseen ones, expected different pictures; "
                "remove the copies and add photos"
            )
    near = _near_duplicates(crops, seen, unseen)
    return Split(forgotten, retained, holdout, seen, unseen, identical, shared, near, photos)


def orl_set(k: int) -> tuple[str, ...]:
    """The people of ORL that forget set k holds, k = 0 … 9: s(4k+1) … s(4k+4)."""
    if k not in range(10):
        raise EffaceError(f"forget set: found {k}, expected 0 to 9; the 40 people of ORL are ten sets of 4")
    return tuple(f"s{4 * k + i}" for i in range(1, 5))


def _photos(crops: Crops) -> dict[str, tuple[int, ...]]:
    """Identity -> positions of its photos; people and photos in natural order."""
    if not len(crops):
        raise EffaceError("faces: found no photo with a face, expected some; check the data set")
    count = Counter(zip(crops.identities, crops.names, strict=True))
    for (who, name), times in count.items():
        if times > 1:
            raise EffaceError(
                f"faces: found the photo {name} of {who} {times} times, expected it once; remove the copies"
            )
    own: dict[str, list[int]] = {}
    for position, who in enumerate(crops.identities):
        own.setdefault(who, []).append(position)
    return {p: tuple(sorted(own[p], key=lambda i: natural_key(crops.names[i]))) for p in sorted(own, key=natural_key)}


def check_request(photos: Mapping[str, Sequence[Any]], forget: Sequence[str], retain: Sequence[str]) -> None:
    """Whether these people may be forgotten and retained, given everybody's photos. Raises EffaceError as `split`."""
    for group, asked in (("forget", forget), ("retain", retain)):
        for who, times in Counter(asked).items():
            if who not in photos:
                near = difflib.get_close_matches(who, photos, n=1, cutoff=0)[0]
                raise EffaceError(
                    f"{group}: found {who!r}, expected one of the {len(photos)} people of the data set; "
                    f"the nearest name is {near!r}"
                )
            if times > 1:
                raise EffaceError(f"{group}: found {who!r} more than once, expected each person once; name them once")
    both = sorted(set(forget) & set(retain), key=natural_key)
    if both:
        raise EffaceError(f"found {', '.join(both)} in both forget and retain, expected each person in one; choose one")
    for who in forget:
        if len(photos[who]) < 3:
            raise EffaceError(
                f"forget: found {len(photos[who])} photo(s) of {who} with a face, expected at least 3: one for the "
                "method, and two unseen ones to see whether one still finds the other; add photos"
            )


def _without_identical(
    crops: Crops, seen: Mapping[str, tuple[int, ...]], judged: Collection[int]
) -> tuple[dict[str, tuple[int, ...]], tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """`seen` without photos whose pixels are those of a judged one, the names of those, and the photos that several
    people share."""
    digest = digests(crops.pixels)
    taken = {digest[i] for i in judged}
    kept = {p: tuple(i for i in own if digest[i] not in taken) for p, own in seen.items()}
    out = tuple(crops.names[i] for p, own in seen.items() for i in own if digest[i] in taken)
    owners: dict[bytes, list[int]] = {}
    for position in sorted(range(len(crops)), key=lambda i: natural_key(f"{crops.identities[i]}/{crops.names[i]}")):
        owners.setdefault(digest[position], []).append(position)
    shared = [own for own in owners.values() if len({crops.identities[i] for i in own}) > 1]
    return kept, out, tuple(tuple(crops.names[i] for i in own) for own in shared)


def _near_duplicates(
    crops: Crops, seen: Mapping[str, tuple[int, ...]], unseen: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[str, str], ...]:
    """Pairs of a seen and an unseen photo of one person that nearly are the same picture."""
    found: list[tuple[str, str]] = []
    hashes = perceptual_hashes(crops.pixels)
    for who, own in seen.items():
        near = (distances(hashes[list(own)], hashes[list(unseen[who])]) <= NEAR).nonzero().tolist()
        found.extend((crops.names[own[i]], crops.names[unseen[who][j]]) for i, j in near)
    return tuple(found)
