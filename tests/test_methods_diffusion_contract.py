"""Every registered method for diffusion models, held to the same contract on a tiny model with random weights."""

from dataclasses import fields, replace

import pytest

from efface import registry
from efface.testing.diffusion_contract import CHECKS, Problem

QUICK = {"steps": 8, "batch": 4, "retained": 4, "measured": 2, "pictures": 2}
"""At most, so that it is quick; as published, methods take minutes."""
STRONG = {"learning_rate": 1e-3, "beta": 2.0}
"""So that few steps show; β of SISS, because a model with random weights learns to draw the forgotten from anybody."""


def quick(name):
    method = registry.get("methods.diffusion", name)()
    known = {f.name for f in fields(method)}
    least = {k: min(v, getattr(method, k)) for k, v in QUICK.items() if k in known}
    return replace(method, **least, **{k: v for k, v in STRONG.items() if k in known})


@pytest.mark.parametrize("name", registry.names("methods.diffusion"))
@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_contract(name, check):
    check(quick(name), Problem.make())
