"""From a face embedding to the tokens that a denoising network attends to: a small text encoder whose text is a
face."""

import torch
from torch import Tensor, nn


class Projector(nn.Module):
    """Unit embeddings [n, embedding] -> tokens [n, tokens, width].

    A linear map gives each token its own view of the embedding, positions tell the tokens apart, transformer layers mix
    them. The zero vector stands for nobody: what the unconditional branch is given.
    """

    def __init__(
        self, embedding: int = 128, tokens: int = 8, width: int = 128, layers: int = 2, heads: int = 4
    ) -> None:
        super().__init__()
        self.sizes = {"embedding": embedding, "tokens": tokens, "width": width, "layers": layers, "heads": heads}
        self.views = nn.Linear(embedding, tokens * width)
        self.positions = nn.Parameter(torch.randn(tokens, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, embeddings: Tensor) -> Tensor:
        scaled = embeddings * self.sizes["embedding"] ** 0.5  # numbers of about 1
        views = self.views(scaled).view(len(embeddings), *self.positions.shape)
        return self.layers(views + self.positions)

    def unconditioned(self, count: int) -> Tensor:
        """Tokens [count, tokens, width] of nobody."""
        return self(self.positions.new_zeros(count, self.sizes["embedding"]))
