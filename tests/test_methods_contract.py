"""Every registered method, held to the same contract on the tiny model."""

import pytest

from efface import registry
from efface.testing.contract import CHECKS, Problem


@pytest.mark.parametrize("name", registry.names("methods.recognition"))
@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
def test_contract(name, check):
    check(registry.get("methods.recognition", name)(), Problem.make())
