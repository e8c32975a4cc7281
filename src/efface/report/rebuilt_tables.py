"""The rows of the tables of a report on a face generator, as text. No torch here."""

from efface.report import drawn_tables
from efface.report.drawn_verdict import ACC, TAR, UNDETECTED
from efface.report.numbers import MODELS, Audit, entry, shown
from efface.report.tables import Fact, Group

COLUMNS = {
    "id": ("Kept", "cosine before and after"),
    "id_photo": ("Likeness", "mean cosine with the person"),
    ACC: ("Nearest", "share nearest to the person"),
    TAR: ("Accepted", "TAR at FAR 1e-2, all views"),
    "perceptual": ("Changed", "distance of features"),
    UNDETECTED: ("No face", "share of pictures"),
}
"""The main numbers, each in words and by its name."""
GROUPS = {
    "forget": "Forgotten, drawn from the photo that the method was given",
    "forget_others": "Forgotten, drawn from photos that it did not see",
    "neighbours": "Look-alikes of the forgotten",
    "retain": "Retained: others of whom the method had a photo",
    "holdout": "Strangers, held out: the method knew nothing of them",
}
"""Groups of people in the order of reports, and what to call them."""
WHOLE = {
    ("samples", "fid_pre"): "People who never existed: distance of their pictures from those before",
    ("samples", "kid"): "The same by the kernel distance",
    ("samples", "delta_fid_real"): "How much further from real photos they are than before",
    ("retain", "fid_pre"): "Retained people: distance of their pictures from those before",
    ("forget", "replacement_similarity"): "How alike the forgotten are to each other; a high value: one face for all",
}
"""(group, metric) -> what the number says of the generator as a whole."""


def columns(block: Audit) -> list[str]:
    """The main numbers that were measured for any group."""
    return drawn_tables.columns(block, COLUMNS, GROUPS)


def main_table(block: Audit) -> list[Group]:
    """As `drawn_tables.main_table`."""
    return drawn_tables.main_table(block, COLUMNS, GROUPS, "id_photo")


def facts(audit: Audit) -> list[Fact]:
    """Numbers on the generator as a whole, as far as they could be measured."""
    models = [m for m in MODELS if m in audit["models"]]
    rows = []
    for (group, metric), text in WHOLE.items():
        cells = tuple(shown(entry(audit, m, group, metric), 3) for m in models)
        if any(cell != "–" for cell in cells):
            rows.append(Fact(text, metric, cells))
    return rows
