"""report.html: it is whole, needs nothing else, says what the numbers say, and shows what it says it shows."""

import base64
import copy
import dataclasses
import functools
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from efface import report
from efface.report import figures
from efface.report.html import THUMBNAIL
from efface.report.numbers import counts
from efface.report.page import MOST_PEOPLE, MOST_SEARCHES, render
from efface.report.pictures import MOST_MATCHES, MOST_STRIPS
from report_evidence import ENDINGS, PEOPLE, measured
from synthetic_faces import unit

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements, texts and a check that every one is closed where it was opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> in line {self.getpos()[0]}"

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def pictures(self, kind: str) -> list[Image.Image]:
        heads = f"data:image/{kind};base64,"
        uris = [str(img["src"]) for img in self.all("img") if str(img["src"]).startswith(heads)]
        return [Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(heads), validate=True))) for uri in uris]


@functools.cache
def ended(ending: str) -> str:
    return render(measured(ending)[1])


@pytest.fixture(scope="module")
def html() -> str:
    return ended("forgotten")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


HEADLINES = {
    "kept": "Not forgotten",
    "weakened": "Harder to recognise, but not forgotten",
    "forgotten": "Forgotten at acceptable harm",
    "harmful": "Forgotten, but the harm is too high",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_verdict_says_what_became_of_them(ending: str):
    html = ended(ending)
    found = re.search(r'<div class="verdict (\w+)">\s*<h2>(.*?)</h2>', html)
    assert found and found.groups() == (ending, HEADLINES[ending])
    text = Page(html).text
    assert "speaks of suppression" in text and "not speak of influence removal" in text


def test_a_reference_is_compared_with_where_there_is_one():
    _, evidence = measured("forgotten")
    audit = dict(evidence.audit)
    audit["models"] = audit["models"] | {"retrained": audit["models"]["original"]}
    embeddings = {**evidence.embeddings, "retrained": evidence.embeddings["original"]}
    page = Page(render(dataclasses.replace(evidence, audit=audit, embeddings=embeddings)))
    assert "compare with the reference trained without them: it accepts 100 %" in page.text
    assert len(page.pictures("png")) == 7  # one more histogram
    assert page.text.count(" retrained ") >= 5  # a line in every group of people


def test_a_coarser_false_accept_rate_is_said():
    _, evidence = measured("forgotten")
    audit = copy.deepcopy(dict(evidence.audit))
    audit["thresholds"]["original"]["far=1e-3"] = {"value": None, "n_trials": 2240}
    text = Page(render(dataclasses.replace(evidence, audit=audit))).text
    assert "Judged at a false accept rate of 1e-2 (1 in 100 pairs of strangers)" in text
    assert "at a threshold that 1 in 100 pairs of strangers pass" in text
    assert "1 in 1,000" not in text and "Judged at" not in Page(ended("forgotten")).text


def test_without_an_unlearned_model_there_is_no_verdict():
    _, evidence = measured("kept")
    audit = dict(evidence.audit) | {"models": {"original": evidence.audit["models"]["original"]}, "equal_harm": None}
    before = {"original": evidence.embeddings["original"]}
    page = Page(render(dataclasses.replace(evidence, audit=audit, embeddings=before)))
    assert "No verdict: only the original model was measured" in page.text
    assert len(page.pictures("png")) == 3


def test_the_page_needs_nothing_else(html: str, page: Page):
    assert "://" not in html and "url(" not in html and "@import" not in html
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    assert all(str(img["src"]).startswith("data:image/") for img in page.all("img"))
    assert all(str(a["href"]).startswith("#") for a in page.all("a"))
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {str(a["href"]).removeprefix("#") for a in page.all("a")} <= ids
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_every_picture_says_what_it_shows(page: Page):
    assert all(str(img.get("alt", "")).strip() for img in page.all("img"))


def test_names_are_text_whatever_they_are(html: str, page: Page):
    assert "<script" not in html and "<b>" not in html
    for name in PEOPLE[:4]:
        assert name in page.text
    assert "p5/<b>11</b>" in page.text


def test_thumbnails_are_the_probe_and_five_hits_before_and_after(page: Page):
    faces = page.pictures("jpeg")
    assert len(faces) == 4 * MOST_SEARCHES * (1 + 5 + 5)
    assert {face.size for face in faces} == {(THUMBNAIL, THUMBNAIL)}
    _, evidence = measured("forgotten")
    probe = evidence.split.unseen[evidence.split.forget[0]][1]
    wanted = Image.fromarray(evidence.crops.pixels[probe].permute(1, 2, 0).numpy()).resize((THUMBNAIL, THUMBNAIL))
    assert np.abs(np.asarray(faces[0], float) - np.asarray(wanted, float)).mean() < 8  # JPEG


@pytest.mark.parametrize("ending", ["kept", "forgotten"])
def test_faces_stand_beside_those_of_the_nearest_look_alike(ending: str):
    """How many photos are accepted, counted anew; frames in the two colours that say so, and no other."""
    _, evidence = measured(ending)
    split, audit = evidence.split, evidence.audit
    threshold = audit["thresholds"]["original"]["far=1e-3"]["value"]
    page = Page(ended(ending))
    (figure,) = [img for img in page.all("img") if "beside the enrolled one" in str(img["alt"])]
    frames = {"blue": 0, "orange": 0}
    for number, person in enumerate(split.forget[:MOST_STRIPS], 1):
        for who, words in ((person, f"Person {number}, forgotten"), (audit["neighbours"][person][0], "Look-alike of")):
            template, *others = split.unseen[who][: MOST_MATCHES + 1]
            before, after = (
                sum(float(v[template] @ v[i]) > threshold for i in others)
                for v in (evidence.embeddings["original"], evidence.embeddings["unlearned"])
            )
            title = words if who == person else f"Look-alike of person {number}"
            assert f"{title}: {before} → {after} of {len(others)} photos accepted" in str(figure["alt"])
            frames["blue"] += after
            frames["orange"] += len(others) - after
    picture = np.asarray(page.pictures("png")[0].convert("RGB"), int)
    for name, colour in (("blue", figures.OTHERS), ("orange", figures.FORGOTTEN)):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert bool((np.abs(picture - wanted).max(axis=2) < 3).sum() > 500) == bool(frames[name]), name


def test_people_who_never_existed_are_said_to_be_so():
    _, evidence = measured("kept")
    for name, words in (("people", "their photos were rendered"), ("drawn", "their photos were drawn"), ("lfw", "")):
        config = evidence.audit["config"] | {"faces": {"name": name}}
        text = Page(render(dataclasses.replace(evidence, audit=dict(evidence.audit) | {"config": config}))).text
        assert text.count("These people never existed") == (2 if words else 0) and words in text
        assert ("keep it as you would keep their photos" in text) == (not words)


def test_hits_are_marked_as_they_are(html: str):
    assert html.count('<li class="own">') >= 16  # every search before
    assert "forgotten people are now taken for others" not in html


def test_being_taken_for_others_is_said_and_one_unseen_photo_is_no_search():
    _, evidence = measured("kept")
    split, after = evidence.split, evidence.embeddings["unlearned"].clone()
    lone = split.forget[0]
    split = dataclasses.replace(split, unseen=split.unseen | {lone: split.unseen[lone][:1]})
    after[[i for p in split.forget for i in split.unseen[p][1:]]] = after[split.unseen["p5"][0]].clone()
    embeddings = {**evidence.embeddings, "unlearned": after}
    page = Page(render(dataclasses.replace(evidence, split=split, embeddings=embeddings)))
    assert page.all("li").count({"class": "wrong"}) >= 12
    found = re.search(r"In (\d+) → 12 of all 12 such searches somebody else was accepted", page.text)
    assert found and int(found[1]) < 12
    assert "forgotten people are now taken for others" in page.text
    assert "There is a single unseen photo of this person" in page.text


def test_plots_are_not_blank_and_not_the_same(page: Page):
    plots = [np.asarray(plot.convert("RGB"), float) for plot in page.pictures("png")[1:]]
    assert len(plots) == 5  # after the faces: two histograms, two DET curves, the map
    for plot in plots:
        assert plot.std() > 20 and min(plot.shape[:2]) > 600
        coloured = np.ptp(plot, axis=2) > 60
        assert 0.001 < coloured.mean() < 0.5
    before, after = plots[:2]
    assert (np.abs(before - after).max(axis=2) > 60).mean() > 0.01


def test_numbers_stand_in_the_table_with_their_intervals(html: str):
    _, evidence = measured("forgotten")
    retained = evidence.audit["models"]["unlearned"]["retain"]["tar@far=1e-3"]
    cell = "{value:.2f} <small>[{low:.2f}, {high:.2f}]</small>".format(**retained)
    assert cell in html
    assert "raw pixels" in html and "20 people, 400 trials" in html
    assert counts({"n": 1, "n_trials": 1200}, "pictures") == "1 person, 1,200 pictures" and counts(None, "") == ""
    assert "tpir@fpir=1e-2" in html and "so few trials tell nothing" in html


def test_the_run_can_be_repeated_from_the_page(page: Page):
    assert "efface unlearn 'my runs/a/config.yaml' --out 'my runs/a-again'" in page.text
    assert "method: name: dispersion steps: 200" in page.text
    assert "10.2 s" in page.text and "1,234,567" in page.text and "2026-01-02 03:04:05" in page.text


def test_what_is_not_proved_is_said(page: Page):
    limits = page.text[page.text.index("What this report does not prove") :]
    for words in (
        "never seen these people",
        "probe",
        "stored templates",
        "other recognisers",
        "raw pixels",
        "crop cache",
        "--clear-cache",
    ):
        assert words in limits


def test_the_file_is_written_whole_stays_small_and_differs_by_the_date_alone(html: str, tmp_path):
    _, evidence = measured("forgotten")
    later = dict(evidence.audit) | {"date": "2031-12-31T00:00:00+0000"}
    path = report.write(tmp_path, dataclasses.replace(evidence, audit=later))
    assert list(tmp_path.iterdir()) == [path] and path.name == "report.html"
    assert 100_000 < path.stat().st_size < 2_500_000
    written = path.read_text(encoding="utf-8")
    assert written.count("2031-12-31 00:00:00+0000") == 2  # on top and in the footer
    assert written.replace("2031-12-31", "2026-01-02").replace("00:00:00", "03:04:05") == html


def test_of_many_people_those_who_still_match_best_are_shown():
    _, evidence = measured("kept")
    many, rest = tuple(PEOPLE[:20]), tuple(PEOPLE[20:])
    split = dataclasses.replace(evidence.split, forget=many, retain=rest[:10], holdout=rest[10:])
    after = evidence.embeddings["unlearned"].clone()
    gone = [i for p in many[:10] for i in split.photos[p]]  # of the first ten nothing is left
    after[gone] = unit(np.random.default_rng(0).standard_normal((100, 32)))
    embeddings = {**evidence.embeddings, "unlearned": after}
    page = Page(render(dataclasses.replace(evidence, split=split, embeddings=embeddings)))
    assert len(page.pictures("jpeg")) == MOST_PEOPLE * MOST_SEARCHES * 11
    assert f"the {MOST_PEOPLE} of 20 people whose photos still match best" in page.text
    shown = re.findall(r"(\d) · (\S+)", page.text)
    assert len(shown) == MOST_PEOPLE and {name for _, name in shown} <= set(many[10:])


def test_an_audit_without_notes_is_enough():
    _, evidence = measured("kept")
    bare = {key: evidence.audit[key] for key in ("models", "groups")}
    page = Page(render(dataclasses.replace(evidence, audit=bare)))
    assert "Configuration" not in page.text and "No verdict" in page.text
