"""The inversion encoder of the generators that come with efface: a photo -> offsets from the average latent, in W+.

A small convolutional network on the picture, joined by the embedding of the recogniser that comes with efface, as the
encoders of pSp and e4e begin from a recogniser (Richardson et al. 2021, arXiv 2008.00951; Tov et al. 2021, arXiv
2102.02766). The latter's split is used too: one offset for all layers, and a smaller one for each.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Encoder(nn.Module):
    """(pictures float32 [n, 3, size, size] of −1 … 1, framed; unit embeddings [n, d]) -> offsets [n, count, w_dim].

    size: of the pictures, 32 times a whole number. width: channels of the first stage, of five.
    """

    def __init__(
        self, size: int, embedding_size: int, count: int, w_dim: int, width: int = 32, hidden: int = 384
    ) -> None:
        super().__init__()
        self.sizes = {"size": size, "embedding_size": embedding_size, "count": count, "w_dim": w_dim, "width": width,
                      "hidden": hidden}  # fmt: skip
        self.count, self.w_dim = count, w_dim
        stages, inputs = [], 3
        for outputs in (width, width * 3 // 2, width * 3, width * 4, width * 4):
            stages.append(nn.Sequential(nn.Conv2d(inputs, outputs, 4, 2, 1), nn.BatchNorm2d(outputs), nn.SiLU()))
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.seen = nn.Linear(inputs * (size // 32) ** 2, hidden)
        self.known = nn.Linear(embedding_size, hidden)
        self.joined = nn.Sequential(nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.common = nn.Linear(hidden, w_dim)
        self.each = nn.Linear(hidden, count * w_dim)
        nn.init.zeros_(self.each.weight)
        nn.init.zeros_(self.each.bias)

    def forward(self, pictures: Tensor, embeddings: Tensor) -> Tensor:
        common, each = self.parts(pictures, embeddings)
        return common[:, None] + each

    def parts(self, pictures: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """(offset of all layers [n, w_dim], of each [n, count, w_dim]): their sum is the result."""
        seen = self.seen(self.stages(pictures).flatten(1))
        # unit embeddings have components of about 1/√d
        known = self.known(embeddings * embeddings.shape[1] ** 0.5)
        joined = self.joined(seen + known)
        return self.common(joined), self.each(joined).view(-1, self.count, self.w_dim)


def scaled(pictures: Tensor, size: int) -> Tensor:
    """Pictures uint8 [n, 3, h, w] as float32 [n, 3, size, size] of −1 … 1."""
    found = pictures.float() / 127.5 - 1
    if found.shape[-1] == size:
        return found
    return F.interpolate(found, (size, size), mode="bilinear", antialias=True, align_corners=False)


@torch.no_grad()
def centre(encoder: Encoder, mean: Tensor) -> None:
    """Take the mean offset [w_dim] away: offsets then are from that mean."""
    encoder.common.bias.sub_(mean.to(encoder.common.bias))
