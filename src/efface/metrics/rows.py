"""One line of people.csv for every person and number: what intervals and pooled runs are computed from."""

import csv
import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from efface.errors import EffaceError
from efface.metrics.protocol import ByPerson


class Row(NamedTuple):
    """One number of one person under one model."""

    model: str
    """`original`, `unlearned`, `retrained`, or `floor.<name>`."""
    group: str
    person: str
    metric: str
    """Key of audit.json, for example `tar@far=1e-3`."""
    value: float | None
    """None where there was nothing to measure, or too few impostors for the threshold."""
    n_trials: int
    """Trials that the value is a mean over."""


def rows_of(model: str, group: str, metric: str, found: ByPerson) -> Iterator[Row]:
    """A row for each person; nan becomes None."""
    for person, value, trials in zip(found.people, found.values.tolist(), found.trials.tolist(), strict=True):
        yield Row(model, group, person, metric, None if math.isnan(value) else value, trials)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write people.csv: a heading, then one line a row; a null value is an empty field."""
    partial = path.with_name(path.name + ".tmp")
    try:
        with open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(Row._fields)
            writer.writerows(rows)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise EffaceError(
            f"{path}: cannot be written ({error.strerror}); free the disk or choose another folder"
        ) from error


def read_rows(path: Path) -> list[Row]:
    """Read people.csv back, to the same numbers."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
        if not lines or tuple(lines[0]) != Row._fields:
            raise EffaceError(
                f"{path}: found the heading {lines[:1]}, expected {','.join(Row._fields)}; is it people.csv?"
            )
        return [Row(m, g, p, k, float(v) if v else None, int(n)) for m, g, p, k, v, n in lines[1:]]
    except OSError as error:
        raise EffaceError(f"{path}: cannot be read ({error.strerror}); is it a finished run?") from error
    except ValueError as error:
        if isinstance(error, EffaceError):
            raise
        raise EffaceError(f"{path}: not a table of people ({error}); run the audit again") from error
