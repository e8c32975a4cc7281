"""What the pages of all kinds of models share: templates, numbers for people, configuration and notes."""

import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from efface import registry
from efface.report.numbers import listed, percent, plain
from efface.report.pictures import data_uri

THUMBNAIL = 96
"""Side of a thumbnail in pixels."""
MOST_NAMES = 12
"""Names written out in a list before the rest is counted."""


def filled(template: str, audit: Mapping[str, Any], forgotten: Sequence[str], content: Mapping[str, Any]) -> str:
    """A whole page: the template, what every audit.json says, and `content`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    environment.filters["listed"] = listed
    environment.filters["percent"] = percent
    environment.filters["interval"] = interval
    environment.filters["cost"] = cost
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    config = audit.get("config", {})
    everywhere = {
        "audit": audit,
        "config": config,
        "css": (Path(__file__).parent / "page.css").read_text(encoding="utf-8"),
        "forgotten": list(forgotten),
        "nobody": _nobody(config),
        "yaml": _yaml(config),
        "command": _command(config),
        "cost_names": COSTS,
        "notes": _notes(audit.get("photos", {})),
    }
    return environment.get_template(template).render(everywhere | dict(content))


def interval(text: str) -> Markup:
    """`0.42 [0.31, 0.55]` with the interval set smaller."""
    number, bracket, rest = text.partition(" [")
    return Markup("{} <small>[{}</small>").format(number, rest) if bracket else Markup.escape(text)


def cost(found: Any) -> str:
    """A number of seconds, steps or bytes for people; anything else as it is."""
    if found is None:
        return "–"
    if isinstance(found, float):
        return plain(found, 1)
    return f"{found:,}" if isinstance(found, int) and not isinstance(found, bool) else str(found)


def thumbnail(pixels: Tensor, side: int = THUMBNAIL) -> str:
    """A picture uint8 [3, h, w] as a data URI."""
    return _jpeg(_image(pixels).resize((side, side), Image.Resampling.LANCZOS))


def film(frames: Tensor) -> str:
    """Pictures uint8 [n, 3, h, w] side by side in one, as a data URI."""
    return _jpeg(_image(frames.permute(1, 2, 0, 3).flatten(2)))


def _image(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy())


def _jpeg(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return data_uri(buffer.getvalue(), "jpeg")


def _yaml(config: Mapping[str, Any] | None) -> str:
    return "" if not config else yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=100)


def _nobody(config: Mapping[str, Any]) -> str:
    """What a data set of people who never existed says of them; empty for all others."""
    name = config.get("faces", {}).get("name")
    known = name in registry.names("faces.datasets")
    return registry.describe("faces.datasets", name).facts.get("nobody", "") if known else ""


def _command(config: Mapping[str, Any]) -> str:
    out = str(config.get("out", "RUN"))
    return f"efface unlearn {shlex.quote(out + '/config.yaml')} --out {shlex.quote(out + '-again')}"


COSTS = {
    "seconds": "Seconds of unlearning",
    "steps": "Optimiser steps",
    "images_seen": "Images seen",
    "peak_memory_mb": "Peak memory, MB",
    "trainable_parameters": "Trainable parameters",
    "device": "Device",
}
"""What a cost is, by its key in audit.json."""
NOTES = {
    "photos": "Photos in the collection",
    "no_face": "No face found; not measured",
    "several_faces": "Several faces; the largest was taken",
    "grey": "Without colour; inverted as they are",
    "identical": "The same picture as an unseen one; kept from the method",
    "shared": "The same picture under the names of several people",
    "near_duplicates": "Nearly the same picture, once seen and once unseen (perceptual hashes within 4 of 64 bits)",
}
"""What a note on photos says, by its key in audit.json."""


def _notes(photos: Mapping[str, Any]) -> list[tuple[str, int | None, str]]:
    """(what, how many, which) for each note on photos."""
    notes = []
    for key, found in photos.items():
        title = NOTES.get(key, key.replace("_", " ").capitalize())
        if isinstance(found, list | tuple):
            which = [" = ".join(one) if isinstance(one, list | tuple) else str(one) for one in found]
            notes.append((title, len(found), listed(which, MOST_NAMES)))
        else:
            notes.append((title, None, str(found)))
    return notes
