"""The tiny diffusion model and the drawn people of the tests; made once in a process, changed by nobody."""

from functools import lru_cache

from efface.methods.conditions import DrawRequest, Faces
from efface.targets.diffusion import DiffusionTarget
from efface.testing import tiny_diffusion


@lru_cache(maxsize=1)
def tiny_target() -> DiffusionTarget:
    """Random weights; the blocks and attention layers of the shipped model; work on a `clone()`."""
    return tiny_diffusion.tiny_target()


@lru_cache(maxsize=4)
def tiny_faces(people: int = 8, photos: int = 4) -> Faces:
    """Drawn people, `person-000` …, framed, with the embeddings of the shipped recogniser."""
    return tiny_diffusion.tiny_faces(tiny_target(), people, photos)


def tiny_request(forget: int = 1) -> DrawRequest:
    """To forget the first people; the last are their anchors."""
    return tiny_diffusion.tiny_request(tiny_faces(), forget)
