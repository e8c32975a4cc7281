"""A name is a file, or a plug-in of another distribution."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from efface import config, registry
from efface.errors import EffaceError

ROOT = Path(__file__).parents[1]

METHOD = '''
"""A plug-in method: half of a projection."""
from dataclasses import dataclass
import torch
from efface.methods.unlearner import Unlearner


@dataclass(frozen=True, kw_only=True)
class Damp(Unlearner):
    """Damp the forgotten people's mean directions."""

    paper = "ours, for this test"
    objective = "pair_cosine"
    keep: float = 0.2
    """Share of the directions that is kept, 0-1."""

    def unlearn(self, target, request, generator):
        twin = target.clone()
        embeddings = target.embed(request.forget.pixels)
        basis = torch.linalg.svd(embeddings, full_matrices=False).Vh[:6]
        twin.compose_output(torch.eye(embeddings.shape[1]) - (1 - self.keep) * basis.T @ basis)
        return twin
'''


@pytest.fixture
def plugin(tmp_path):
    """A distribution with one method, as pip would have laid it out."""
    (tmp_path / "damping_plugin.py").write_text(METHOD)
    info = tmp_path / "damping-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: damping\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[efface.methods.recognition]\ndamp = damping_plugin\n")
    return tmp_path


def test_plugin_is_seen_everywhere(plugin):
    """Registry, listing, configuration and contract tests, with no edit anywhere else."""
    environment = os.environ | {"PYTHONPATH": str(plugin)}
    code = (
        "from efface import config, registry\n"
        "assert 'damp' in registry.names('methods.recognition')\n"
        "assert registry.describe('methods.recognition', 'damp').fields[0].name == 'keep'\n"
        "c = config.load(None, ['method.name=damp', 'method.keep=0.5'], tiny=True)\n"
        "assert c.method.value.keep == 0.5\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    command = [sys.executable, "-m", "pytest", "tests/test_methods_contract.py", "-k", "damp", "-p", "no:cacheprovider"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "7 passed" in done.stdout, done.stdout


def test_name_clash_is_an_error(plugin, monkeypatch):
    (plugin / "damping-1.0.dist-info" / "entry_points.txt").write_text(
        "[efface.methods.recognition]\nesc = damping_plugin\n"
    )
    monkeypatch.syspath_prepend(plugin)
    with pytest.raises(EffaceError, match=r"'esc' is claimed by .*and by damping_plugin"):
        registry.names("methods.recognition")


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_entry_is_described(kind):
    for name in registry.names(kind):
        entry = registry.describe(kind, name)
        assert entry.summary.endswith("."), f"{kind} {name}: the docstring's first line is not a sentence"
        assert all(field.doc for field in entry.fields), f"{kind} {name}: a field without its unit and meaning"
        fields = dataclasses.fields(registry.get(kind, name))
        assert [field.name for field in entry.fields] == [field.name for field in fields]


def test_inherited_fields_stand_where_they_are_first_named_with_what_the_class_itself_says_of_them():
    first = registry.describe("methods.gan", "guide").fields
    own = registry.describe("methods.gan", "sugar").fields
    assert [field.name for field in own[:10]] == [field.name for field in first[:10]]
    assert (first[0].name, first[0].default, own[0].default) == ("distance", "30.0", "20.0")
    assert own[0].doc.endswith("paper: 20.") and own[1] == first[1]


def test_methods_state_their_paper():
    for name in registry.names("methods.recognition"):
        assert registry.describe("methods.recognition", name).facts.get("paper"), name


def test_unknown_name():
    with pytest.raises(EffaceError, match=r"found 'dispersal', expected one of: .*dispersion"):
        registry.get("methods.recognition", "dispersal")
    with pytest.raises(EffaceError, match="expected one of"):
        config.load(None, ["method=dispersal"], tiny=True)
