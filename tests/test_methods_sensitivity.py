"""Which layers tell people apart: the statistic against loops, the proposal, and the verb."""

import pytest
import torch
from typer.testing import CliRunner

from diffusion_models import tiny_faces, tiny_target
from efface.cli import app
from efface.errors import EffaceError
from efface.methods.conditions import Faces
from efface.methods.scopes import cross_attention_layers, scope_names
from efface.methods.sensitivity import Layer, proposed_scope, sensitivity
from efface.report.layers import Row, picture


def heard(target, names, embedding, z, t):
    """(what a layer adds, the stream) of each layer, for one embedding."""
    found = {}
    handles = []
    for name in names:
        block = target.parts.unet.get_submodule(name.removesuffix(".attn2"))
        handles.append(block.attn2.register_forward_hook(lambda _m, _i, y, n=name: found.setdefault(n, {}).update(y=y)))
        handles.append(
            block.norm2.register_forward_pre_hook(lambda _m, i, n=name: found.setdefault(n, {}).update(h=i[0]))
        )
    with torch.no_grad():
        target.noise(z, t, target.condition(embedding[None]))
    for handle in handles:
        handle.remove()
    return {name: (one["y"][0].double(), one["h"][0].double()) for name, one in found.items()}


def test_the_statistic_is_the_slow_one():
    target, faces = tiny_target(), tiny_faces()
    people, photos, draws = 3, 3, 2
    found = sensitivity(target, faces, torch.Generator().manual_seed(4), people=people, photos=photos, draws=draws)
    names = cross_attention_layers(target.parts.unet)
    assert [layer.name for layer in found] == list(names)
    generator = torch.Generator().manual_seed(4)
    between, within, stream = ({n: 0.0 for n in names} for _ in range(3))
    for _ in range(draws):
        z, t = target.draw(1, generator), torch.randint(1000, (1,), generator=generator)
        rows = [[i for i, n in enumerate(faces.identities) if n == p][:photos] for p in faces.people()[:people]]
        passes = [[heard(target, names, faces.embeddings[i], z, t) for i in own] for own in rows]
        for n in names:
            y = torch.stack([torch.stack([one[n][0] for one in own]) for own in passes])  # [people, photos, q, c]
            scatter = y.var(dim=1).mean()  # over photos, unbiased
            between[n] += float(y.mean(1).var(dim=0).mean() - scatter / photos)
            within[n] += float(scatter)
            stream[n] += float(torch.stack([one[n][1] for own in passes for one in own]).square().mean())
    for layer in found:
        b = max(0.0, between[layer.name])
        assert layer.separation == pytest.approx((b / stream[layer.name]) ** 0.5, rel=1e-3)
        assert layer.share == pytest.approx(b / (b + within[layer.name]), rel=1e-3)


def test_one_face_for_all_separates_nothing_and_people_without_spread_share_all():
    target, faces = tiny_target(), tiny_faces()
    same = Faces(faces.pictures, faces.embeddings[:1].expand(len(faces), -1), faces.identities)
    for layer in sensitivity(target, same, torch.Generator().manual_seed(0), people=3, photos=2, draws=1):
        assert layer.separation < 1e-5
    fixed = Faces(faces.pictures, faces.centroids()[faces.labels()], faces.identities)
    for layer in sensitivity(target, fixed, torch.Generator().manual_seed(0), people=3, photos=2, draws=1):
        assert layer.separation > 1e-3 and layer.share > 0.999


def test_a_layer_that_adds_nothing_is_seen_and_left_out_of_the_scope():
    target = tiny_target().clone()
    silent = [name for name in cross_attention_layers(target.parts.unet) if name.startswith("up_blocks.3")]
    for name in silent:
        for parameter in target.parts.unet.get_submodule(name).to_out[0].parameters():
            parameter.data.zero_()
    found = sensitivity(target, tiny_faces(), torch.Generator().manual_seed(0), people=4, photos=2, draws=2)
    assert all((layer.separation == 0) == (layer.name in silent) for layer in found)
    scope = proposed_scope(found)
    assert scope and "up_blocks.3" not in scope
    assert scope_names(target.parts.unet, scope)  # a scope that methods take


def test_blocks_above_the_mean_layer_are_proposed():
    def layer(block, i, separation):
        return Layer(f"{block}.attentions.{i}.transformer_blocks.0.attn2", separation, 0.5)

    found = [layer("down_blocks.0", 0, 0.1), layer("down_blocks.0", 1, 0.5), layer("mid_block", 0, 0.4)]
    assert proposed_scope(found) == ("mid_block",)
    assert proposed_scope([*found, layer("up_blocks.1", 0, 0.9)]) == ("up_blocks.1",)


@pytest.mark.parametrize(("people", "photos", "words"), [(1, 2, "1 people with 2"), (3, 9, "0 people with 9")])
def test_too_few_people_or_photos_are_refused(generator, people, photos, words):
    faces = tiny_faces()
    some = faces.take([i for i, n in enumerate(faces.identities) if n in faces.people()[:people]])
    with pytest.raises(EffaceError, match=f"found {words} photos, expected at least 2 people"):
        sensitivity(tiny_target(), some, generator, photos=photos)


def test_the_picture_is_a_png_of_as_many_bars():
    few, many = ([Row(f"layer {i}", 0.1 * i, 0.5, i % 2 == 0) for i in range(n)] for n in (3, 16))
    sizes = [int.from_bytes(picture(rows, "title")[20:24], "big") for rows in (few, many)]  # height, in the header
    assert sizes[0] < sizes[1] and picture(few, "title") == picture(few, "title")


def test_the_verb_proposes_a_scope_and_writes_the_picture(tmp_path):
    command = ["layers", "--tiny", "--photos", "2", "--people", "3", "--draws", "1"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "bars.png")])
    assert done.exit_code == 0, done.output
    assert "proposed: --set method.scope=[" in done.output and "mid_block · 0" in done.output
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
