"""Any recogniser in an ONNX file: the network is read from the file, trained in torch, and written back to the file's
own form (models/onnx_graph.py). What the file does not say is asked of the user or as InsightFace has it."""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from efface.errors import EffaceError
from efface.models import onnx_graph
from efface.models.onnx_graph import Graph
from efface.models.recogniser import InputConvention, Recogniser

INSIGHTFACE = InputConvention()
"""(x − 127.5) / 127.5."""
Positive = Annotated[float, Field(gt=0)]


@dataclass(frozen=True, kw_only=True)
class OnnxRecogniser(Recogniser):
    """Any ArcFace-type recogniser in an ONNX file: read from it, unlearned, written back to it."""

    size: PositiveInt | None = None
    """Side of the input in pixels; only where the file leaves it open."""
    channels: Literal["RGB", "BGR"] = "RGB"
    """Order of the channels; InsightFace: RGB."""
    mean: tuple[float, float, float] | None = None
    """Subtracted from each channel, on the 0–255 scale; left out: 127.5, or 0 where the graph itself subtracts."""
    std: tuple[Positive, Positive, Positive] | None = None
    """What each channel is then divided by; left out: 127.5, or 1 where the graph itself subtracts."""

    origin: ClassVar = "the file that is given"
    licence: ClassVar = "that of the file"
    commercial: ClassVar = "unknown"

    def of(self, weights: Path) -> Recogniser:
        return _OnnxFile(self, onnx_graph.read(weights, self.size), weights)

    def build(self) -> nn.Module:
        raise EffaceError("model: onnx is built from its file, expected one; name a network that is built without")


@dataclass(frozen=True)
class _OnnxFile(Recogniser):
    """What an `OnnxRecogniser` is once it has read its file."""

    given: OnnxRecogniser = field(repr=False)
    graph: Graph = field(repr=False)
    path: Path = field(repr=False)

    licence: ClassVar = OnnxRecogniser.licence
    commercial: ClassVar = OnnxRecogniser.commercial

    @property
    def origin(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"ONNX file {self.path.name}"

    @property
    def convention(self) -> InputConvention:  # pyright: ignore[reportIncompatibleVariableOverride]
        mean, std = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) if self.graph.normalises else (INSIGHTFACE.mean, INSIGHTFACE.std)
        return InputConvention(self.graph.size, self.given.channels, self.given.mean or mean, self.given.std or std)

    @property
    def embedding_size(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.graph.embedding_size

    @property
    def output(self) -> tuple[str | None, str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self.graph.output is None:
            raise EffaceError(
                f"{self.path}: found no linear map (and BatchNorm) at the end, expected one to compose with; use a "
                "method that trains"
            )
        return self.graph.output

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return tuple((name,) for name, _ in self.graph.network.named_children())

    @property
    def fixed(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.graph.fixed

    def build(self) -> nn.Module:
        """With the weights of the file: what `initialise` does not draw (a trained factor, say) keeps them."""
        return copy.deepcopy(self.graph.network)

    def adapt(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The file's tensors as the network has them; those of safetensors are already so."""
        own = self.graph.state(tensors)
        return own or tensors
