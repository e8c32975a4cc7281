"""Where the faces are in a picture: the MTCNN cascade (Zhang et al. 2016, arXiv 1604.02878, section II.A).

Differences from the paper's code: every picture is first brought to a working size (`working_scale`) and its border is
repeated outwards, so that small faces and faces cut by the border are found; the smallest face looked for grows with
the picture (`smallest_face`), so that a large photo costs no more than a middling one.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models import weights
from efface.models.mtcnn import ONet, PNet, RNet

FILES = ("pnet.pt", "rnet.pt", "onet.pt")
"""What a detector's folder holds."""

SHORT_SIDE = 336
"""Pixels: pictures with a shorter side below this are enlarged to it, at most `ENLARGE` times."""
ENLARGE = 8.0
AREA_SIDE = 1920
"""Pixels: pictures above this side squared are shrunk to it."""
SMALLEST = 20
"""Pixels of the working picture: the smallest face looked for, in a picture of any size ..."""
SMALLEST_SHARE = 40
"""... and at least the square root of the picture's area divided by this."""
BORDERS = (10 / SHORT_SIDE, 1 / 5)
"""By what share of the short side the border is repeated outwards; the second where the first finds no face."""
PYRAMID = 0.709
"""Scale from one level of the pyramid to the next (about √½)."""
THRESHOLDS = (0.6, 0.7, 0.9)
"""Least probability of a face after each network."""
BATCH = 512
"""Windows that a network sees at once."""


@dataclass(frozen=True)
class Detection:
    """One face, in pixels of the given picture; the centre of its first pixel is (0, 0)."""

    box: np.ndarray
    """float64 [4]: left, top, right, bottom."""
    score: float
    """Probability of a face, 0–1."""
    landmarks: np.ndarray
    """float64 [5, 2] (x, y): left eye, right eye, nose, left and right corner of the mouth (the picture's left)."""

    @property
    def area(self) -> float:
        return float((self.box[2] - self.box[0]) * (self.box[3] - self.box[1]))


def working_scale(height: int, width: int) -> float:
    """By how much a picture is enlarged (> 1) or shrunk (< 1) before detection."""
    enlarge = min(ENLARGE, SHORT_SIDE / min(height, width))
    return min(max(1.0, enlarge), AREA_SIDE / math.sqrt(height * width))


def smallest_face(height: int, width: int) -> float:
    """Side in pixels of the smallest face looked for in a working picture of this size."""
    return max(SMALLEST, math.sqrt(height * width) / SMALLEST_SHARE)


class Detector:
    """MTCNN with its published weights, on the CPU."""

    def __init__(self, pnet: PNet, rnet: RNet, onet: ONet, digest: str) -> None:
        self.pnet, self.rnet, self.onet = (n.eval().requires_grad_(False) for n in (pnet, rnet, onet))
        self.digest = digest
        """SHA-256 over the weight files, hexadecimal."""

    @classmethod
    def load(cls, folder: Path | str) -> "Detector":
        """Read `pnet.pt`, `rnet.pt` and `onet.pt` from a folder. Raises EffaceError for a missing or wrong file."""
        folder = Path(folder)
        digest = hashlib.sha256()
        pnet, rnet, onet = PNet(), RNet(), ONet()
        for file, network in zip(FILES, (pnet, rnet, onet), strict=True):
            path = folder / file
            if not path.is_file():
                raise EffaceError(f"{path}: found no file, expected one of the MTCNN detector's {', '.join(FILES)}")
            _fill(network, weights.read(path), path)
            digest.update(path.read_bytes())
        return cls(pnet, rnet, onet, digest.hexdigest())

    @torch.inference_mode()
    def find(self, pixels: np.ndarray) -> list[Detection]:
        """Faces in a picture uint8 [height, width, 3] RGB of any size, largest first. Runs in one thread."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the windows are small: threads waiting for each other cost up to 20 times the work
        try:
            return self._find(pixels)
        finally:
            torch.set_num_threads(threads)

    def _find(self, pixels: np.ndarray) -> list[Detection]:
        height, width = pixels.shape[:2]
        scale = working_scale(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        picture = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
        ratio = np.array([width / size[0], height / size[1]])
        boxes, scores, landmarks = self._search(picture, BORDERS[0])
        if not len(boxes):
            boxes, scores, landmarks = self._search(picture, BORDERS[1])
        # edges count from the first pixel's corner, the networks' landmarks from its centre
        boxes = boxes * np.tile(ratio, 2) - 0.5
        landmarks = (landmarks + 0.5) * ratio - 0.5
        found = [Detection(b, float(s), p) for b, s, p in zip(boxes, scores, landmarks, strict=True)]
        return sorted(found, key=lambda d: -d.area)

    def _search(self, picture: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The cascade on the working picture, its border repeated outwards -> boxes [n, 4], scores [n], landmarks
        [n, 5, 2], in pixels of the working picture."""
        border = max(1, round(share * min(picture.shape[:2])))
        padded = Image.fromarray(np.pad(picture, ((border, border), (border, border), (0, 0)), "edge"))
        boxes, scores, landmarks = self._finish(padded, self._refine(padded, self._propose(padded)))
        return boxes - border, scores, landmarks - border

    def _propose(self, picture: Image.Image) -> np.ndarray:
        """The first network over the pyramid -> square windows float64 [n, 4] of the working picture."""
        width, height = picture.size
        scale = 12 / smallest_face(height, width)
        boxes, scores = [np.empty((0, 4))], [np.empty(0)]
        while min(height, width) * scale >= 12:
            size = math.ceil(width * scale), math.ceil(height * scale)
            face, shift = self.pnet(_normalise(np.asarray(picture.resize(size, Image.Resampling.BOX))[None]))
            row, column = np.nonzero(face[0].numpy() >= THRESHOLDS[0])
            corner = np.stack([column, row], 1) * 2.0
            window = np.hstack([corner, corner + 12]) / np.tile([size[0] / width, size[1] / height], 2)
            score = face[0].numpy()[row, column]
            keep = suppress(window, score, 0.5)
            boxes.append(_shift(window[keep], shift[0].numpy()[:, row[keep], column[keep]].T))
            scores.append(score[keep])
            scale *= PYRAMID
        together, score = np.concatenate(boxes), np.concatenate(scores)
        return _square(together[suppress(together, score, 0.7)])

    def _refine(self, picture: Image.Image, boxes: np.ndarray) -> np.ndarray:
        """The second network on every window -> square windows [n, 4]."""
        face, shift = self._windows(self.rnet, picture, boxes, 24)
        keep = np.nonzero(face >= THRESHOLDS[1])[0]
        boxes, score, shift = boxes[keep], face[keep], shift[keep]
        keep = suppress(boxes, score, 0.7)
        return _square(_shift(boxes[keep], shift[keep]))

    def _finish(self, picture: Image.Image, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The third network on every window -> boxes [n, 4], scores [n], landmarks [n, 5, 2]."""
        face, shift, landmarks = self._windows(self.onet, picture, boxes, 48)
        keep = np.nonzero(face >= THRESHOLDS[2])[0]
        boxes, score, shift, landmarks = boxes[keep], face[keep], shift[keep], landmarks[keep]
        side = boxes[:, 2:] - boxes[:, :2]
        landmarks = boxes[:, None, :2] + landmarks * side[:, None]
        boxes = _shift(boxes, shift)
        keep = suppress(boxes, score, 0.7, by_smaller=True)
        return boxes[keep], score[keep], landmarks[keep]

    def _windows(self, network: nn.Module, picture: Image.Image, boxes: np.ndarray, side: int) -> list[np.ndarray]:
        """Outputs of a network for the windows of the picture, each brought to side × side."""
        corners = boxes.astype(int).tolist()
        parts = []
        for start in range(0, max(1, len(corners)), BATCH):
            chunk = [
                np.asarray(picture.crop(c).resize((side, side), Image.Resampling.BOX))
                for c in corners[start : start + BATCH]
            ]
            batch = np.stack(chunk) if chunk else np.empty((0, side, side, 3), np.uint8)
            parts.append(network(_normalise(batch)))
        return [torch.cat(p).double().numpy() for p in zip(*parts, strict=True)]


def suppress(boxes: np.ndarray, scores: np.ndarray, threshold: float, by_smaller: bool = False) -> np.ndarray:
    """Greedy non-maximum suppression: positions of the kept boxes, best score first.

    boxes [n, 4] (left, top, right, bottom); scores [n]. A box is dropped where its overlap with a better kept one is
    above `threshold`: intersection over union, or over the smaller of the two areas.
    """
    left, top, right, bottom = boxes.T
    area = (right - left) * (bottom - top)
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        wide = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        high = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        shared = wide.clip(0) * high.clip(0)
        whole = np.minimum(area[best], area[rest]) if by_smaller else area[best] + area[rest] - shared
        order = rest[shared <= threshold * whole]
    return np.array(kept, dtype=int)


def _fill(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load tensors of exactly the network's names and shapes."""
    own = network.state_dict()
    wrong = own.keys() ^ tensors.keys() or {n for n in own if own[n].shape != tensors[n].shape}
    if wrong:
        kind = type(network).__name__
        raise EffaceError(f"{path}: tensor {min(wrong)!r} is missing, unknown or misshapen; expected MTCNN's {kind}")
    broken = [n for n, t in tensors.items() if not torch.isfinite(t).all()]
    if broken:
        raise EffaceError(f"{path}: {broken[0]} holds NaN or infinite values, expected finite weights; fetch it again")
    network.load_state_dict(tensors)


def _normalise(pictures: np.ndarray) -> Tensor:
    """uint8 [n, h, w, 3] -> float32 [n, 3, h, w] as the networks want it."""
    return (torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float() - 127.5) / 128


def _shift(boxes: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Move the edges [n, 4] by shares of the boxes' sides."""
    side = boxes[:, 2:] - boxes[:, :2]
    return boxes + shift * np.tile(side, 2)


def _square(boxes: np.ndarray) -> np.ndarray:
    """The squares of the longer side with the same centres, to whole pixels."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = np.rint((boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True)).clip(1)
    corner = np.rint(centre - side / 2)
    return np.hstack([corner, corner + side])
