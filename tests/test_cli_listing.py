"""`efface models` and `efface datasets`: what comes with efface, what can be loaded, and on what terms."""

import hashlib

import pytest
from typer.testing import CliRunner

from efface import registry
from efface.cli import app
from efface.models.recognition import tiny

LOADED = [(verb, kind, name) for verb, kind in (("models", "models.recognition"), ("datasets", "faces.datasets"))
          for name in registry.names(kind)]  # fmt: skip


def said(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(("verb", "kind", "name"), LOADED)
def test_everything_that_can_be_loaded_states_its_terms(verb: str, kind: str, name: str):
    facts = registry.describe(kind, name).facts
    assert facts["licence"] and facts["commercial"] in ("yes", "no", "unknown")
    row = next(line for line in said(verb).splitlines() if line.startswith(f"{name} "))
    assert facts["licence"] in row and f" {facts['commercial']} " in row
    details = said(verb, name)
    assert f"licence: {facts['licence']}\n" in details and f"commercial: {facts['commercial']}\n" in details


def test_files_that_come_with_efface_have_size_and_sha256():
    content = tiny.WEIGHTS.read_bytes()
    for output in (said("models"), said("models", "tiny")):
        assert f"  tiny  tiny.safetensors  {len(content):,} bytes\n" in output
        assert f"    sha256 {hashlib.sha256(content).hexdigest()}\n" in output
    assert "comes with efface: nothing" in said("datasets", "folder")
    assert "  people  people.tar  " in said("datasets") and "  people  people.safetensors  " in said(
        "datasets", "people"
    )


def test_methods_are_listed_as_before():
    output = said("methods")
    assert "dispersion" in output and "commercial" not in output and "comes with" not in output
