"""The renderer: how fast it is, and whether recognisers that never saw its people see people.

    python -m benchmarks.rendering speed [PEOPLE]       photos/s on 2 processes, 128 px, 12 photos a person
    python -m benchmarks.rendering identity [PEOPLE]    100 people × 6 photos within ±30° of yaw
    python -m benchmarks.rendering pack                 makes the shipped pack again and compares the bytes
    python -m benchmarks.rendering sheet                docs/people.jpg: 20 people of the pack × 6 photos

All but `sheet` need EFFACE_DATA (heads-ict; `identity` also the pretrained recognisers and the detector).
"""

import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from efface.faces.alignment import warp
from efface.faces.datasets.people import ShippedPeople
from efface.faces.detection import Detector
from efface.faces.rendering.heads import Heads
from efface.faces.rendering.studio import Studio
from efface.metrics.scores import ScoreDistribution, pairs_of_strangers
from efface.targets.recognition import RecognitionTarget

RESULTS = Path(__file__).parent / "results" / "rendering"
SIZE, PHOTOS, PROCESSES = 128, 12, 2
NEAR = 30.0
"""Degrees of yaw within which the photos for `identity` lie."""


def data() -> Path:
    return Path(os.environ["EFFACE_DATA"])


def _worker(
    people: list[int], queue: "multiprocessing.Queue[tuple[int, float]]", gate: "multiprocessing.Barrier"
) -> None:  # type: ignore[valid-type]
    studio = Studio(Heads.load(data() / "heads-ict" / "ict_model.npz"))
    list(studio.photos(10**6, range(2), SIZE))  # compile, and make what all people share
    gate.wait()
    start = time.perf_counter()
    done = sum(1 for person in people for _ in studio.photos(person, range(PHOTOS), SIZE))
    queue.put((done, time.perf_counter() - start))


def speed(people: int) -> None:
    """Photos per second after the start-up, everything included but writing files."""
    context = multiprocessing.get_context("spawn")
    queue, gate = context.Queue(), context.Barrier(PROCESSES)
    shares = [list(range(k, people, PROCESSES)) for k in range(PROCESSES)]
    workers = [context.Process(target=_worker, args=(share, queue, gate)) for share in shares]
    for worker in workers:
        worker.start()
    done = [queue.get() for _ in workers]
    rate = sum(n for n, _ in done) / max(s for _, s in done)
    print(f"{rate:.0f} photos/s ({people} people × {PHOTOS}, {SIZE} px, {PROCESSES} processes)")


def near_photos(studio: Studio, person: int, count: int) -> list[int]:
    """Numbers of the person's first photos within ±30° of yaw."""
    who = studio.person(person)
    near, photo = [], 0
    while len(near) < count:
        if abs(np.degrees(studio.shot(person, photo, who).yaw)) <= NEAR:
            near.append(photo)
        photo += 1
    return near


def identity(people: int, photos: int = 6) -> None:
    studio = Studio(Heads.load(data() / "heads-ict" / "ict_model.npz"))
    pictures, matrices = [], []
    for person in range(people):
        for jpeg, record in studio.photos(person, near_photos(studio, person, photos), SIZE):
            pictures.append(np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")))
            matrices.append(record.alignment)
    crops = torch.from_numpy(np.stack([warp(p, m) for p, m in zip(pictures, matrices, strict=True)])).permute(
        0, 3, 1, 2
    )
    detector = Detector.load(data() / "detector-mtcnn")
    found = sum(bool(detector.find(p)) for p in pictures)
    result: dict[str, object] = {"people": people, "photos": photos, "detected": found / len(pictures)}
    for name, file in (
        ("mobilefacenet", "recogniser-mobilefacenet/mobilefacenet.pt"),
        ("mobileface_v2", "recogniser-mobileface-v2/MobileFace_Identification_V2-0000.params"),
    ):
        target = RecognitionTarget.load(name, data() / file)
        result[name] = scores(target.embed(crops), np.repeat(np.arange(people), photos))
    print(json.dumps(result, indent=1))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "identity.json").write_text(json.dumps(result, indent=1) + "\n")


def scores(embeddings: Tensor, person: np.ndarray) -> dict[str, float]:
    """All pairs of photos: means and standard deviations, AUC, TAR where 1 in 1,000 pairs of strangers pass."""
    cosines = embeddings.numpy() @ embeddings.numpy().T
    first, second = np.triu_indices(len(person), 1)
    pairs, same = cosines[first, second], person[first] == person[second]
    genuine = pairs[same]
    impostors = ScoreDistribution.of(b.scores[b.counted] for b in pairs_of_strangers(embeddings.numpy(), person))
    below = impostors.below(genuine.astype(np.float32)) + impostors.up_to(genuine.astype(np.float32))
    np.fill_diagonal(cosines, -2)
    return {
        "same": float(genuine.mean()),
        "same_sd": float(genuine.std()),
        "different": float(pairs[~same].mean()),
        "different_sd": float(pairs[~same].std()),
        "auc": float(below.mean() / 2 / impostors.total),
        "tar@far=1e-3": float((genuine > (impostors.threshold(1e-3) or 1)).mean()),
        "rank1": float((person[cosines.argmax(1)] == person).mean()),
    }


def pack() -> None:
    """Run the command that made the pack, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "pack"
        command = [
            "render",
            "--heads",
            str(data() / "heads-ict" / "ict_model.npz"),
            "--format",
            "pack",
            "--out",
            str(made),
        ]
        subprocess.run([str(Path(sys.executable).with_name("efface")), *command], check=True)
        for shipped in ShippedPeople.shipped:
            same = shipped.read_bytes() == (made / shipped.name).read_bytes()
            print(f"{shipped.name}: {shipped.stat().st_size:,} bytes, {'the same' if same else 'NOT the same'}")


def sheet(people: int = 20, photos: int = 6, across: int = 2) -> None:
    """A contact sheet, two people a row."""
    shown = [album[:photos] for album in list(ShippedPeople().read().photos.values())[:people]]
    rows = [
        np.hstack([photo.pixels() for album in shown[i : i + across] for photo in album])
        for i in range(0, people, across)
    ]
    path = Path(__file__).parents[1] / "docs" / "people.jpg"
    Image.fromarray(np.vstack(rows)).save(path, quality=88)
    print(path.name)


if __name__ == "__main__":
    torch.set_num_threads(1)
    verb, *rest = sys.argv[1:]
    if verb in ("speed", "identity"):
        {"speed": speed, "identity": identity}[verb](*(int(r) for r in rest or ["100"]))
    else:
        {"pack": pack, "sheet": sheet}[verb]()
