"""Every registered method for face generators, held to the same contract on tiny models with random weights."""

from dataclasses import fields, replace

import pytest

from efface import registry
from efface.methods.rebuilding_losses import Views
from efface.testing.gan_contract import CHECKS, Problem

QUICK = {
    "steps": 5,
    "adapt_steps": 20,
    "surrogate_steps": 2,
    "measured": 4,
    "hidden": 16,
    "lengths": "mean",
    "distance": 2.0,
    "reach": 0.5,
    "views": Views(count=3),
    "learning_rate": 3e-3,
}
"""Few steps that show, lengths of this generator; as published, methods take minutes."""

MORE = {
    "legato": {"steps": 20, "hidden": 64},
    "adapt_then_unlearn": {"steps": 60},
}
"""Methods that need more for it to show."""


def quick(name):
    method = registry.get("methods.gan", name)()
    known = {f.name for f in fields(method)}
    return replace(method, **{k: v for k, v in (QUICK | MORE.get(name, {})).items() if k in known})


@pytest.mark.parametrize("kind", ["eg3d", "stylegan2"])
@pytest.mark.parametrize("name", registry.names("methods.gan"))
@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_contract(name, kind, check):
    check(quick(name), Problem.make(kind))
