"""Every registered attack, held to the same contract on the tiny model."""

import pytest

from efface import registry
from efface.testing.attack_contract import CHECKS, Scene

SHORT = {"relearning": {"steps": (0, 1, 5), "people": 1}}
"""Budgets for which the checks need seconds."""


@pytest.mark.parametrize("name", registry.names("attacks.recognition"))
@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_contract(name, check):
    check(registry.get("attacks.recognition", name)(**SHORT.get(name, {})), Scene.make())
