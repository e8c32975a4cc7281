"""Who can be an anchor on the people that come with efface: how alike strangers are to the shipped recogniser, how many
candidates the band has, and what the other choices give.

    python -m benchmarks.anchors      half a minute on one core
"""

from statistics import mean

import torch

from efface import memory
from efface.faces.alignment import align
from efface.faces.datasets.people import ShippedPeople
from efface.methods.anchors import Anchors
from efface.methods.conditions import Faces
from efface.models.recognition.shipped import ShippedRecogniser
from efface.targets.recognition import RecognitionTarget

WIDTHS = (0.01, 0.02, 0.05)
CHOICES = ("closest", "nearest", "farthest", "mean", "synthetic")
ASKED = 20
"""People for whom the choices are made."""


def main() -> None:
    """Print both tables."""
    crops, _ = align(ShippedPeople().read())
    weights = ShippedRecogniser.shipped
    assert weights is not None
    faces = Faces(crops.pixels, RecognitionTarget.load("shipped", weights).embed(crops.pixels), crops.identities)
    centroids = faces.centroids()
    cosines = centroids @ centroids.T
    others = cosines[~torch.eye(len(cosines), dtype=torch.bool)]
    shares = (1, 10, 20, 50, 80, 90, 99)
    quantiles = torch.quantile(others, torch.tensor(shares) / 100).tolist()
    print("cosines of two people's centroids, percentiles:")
    print(", ".join(f"{share}: {value:.2f}" for share, value in zip(shares, quantiles, strict=True)))
    print(f"below 0.2 lie {float((others < 0.2).float().mean()):.0%}\n")
    print("| ε | candidates, mean | people with none |\n|---|---|---|")
    for width in WIDTHS:
        inside = ((cosines - 0.2).abs() < width).sum(1)
        print(f"| {width} | {float(inside.float().mean()):.1f} | {int((inside == 0).sum())} of {len(cosines)} |")
    print("\n| anchor | cosine to the person | largest cosine to anybody else |\n|---|---|---|")
    for choice in CHOICES:
        found = []
        for person in faces.people()[:ASKED]:
            own = [name == person for name in faces.identities]
            forget, retain = (faces.take([i for i, o in enumerate(own) if o == wanted]) for wanted in (True, False))
            found.append(Anchors(choice=choice).choose(forget, retain, torch.Generator().manual_seed(0)))
        alike, nearest = (mean(c.cosines[0] for c in found), mean(c.nearest[0] for c in found))
        print(f"| `{choice}` | {alike:.2f} | {nearest:.2f} |")


if __name__ == "__main__":
    memory.keep_freed()
    torch.set_num_threads(1)
    main()
