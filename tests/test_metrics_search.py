"""Searching galleries, small and of a million templates."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efface.errors import EffaceError
from efface.metrics import search
from efface.metrics.search import count_at_least, top_k
from efface.targets.cosines import cosines, unit_rows


def directions(rng, count, size=8):
    rows = rng.standard_normal((count, size))
    return unit_rows(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 90), st.integers(1, 7), st.lists(st.integers(0, 90), max_size=4))
def test_pieces_give_what_sorting_everything_gives(seed, count, k, cuts):
    rng = np.random.default_rng(seed)
    gallery, queries = directions(rng, count), directions(rng, 5)
    pieces = np.split(gallery, sorted(min(c, count) for c in cuts))
    scores, found = top_k(queries, pieces, k)
    table = cosines(queries, gallery)
    order = np.argsort(-table, axis=1, kind="stable")[:, :k]
    assert (found[:, : min(k, count)] == order).all()
    assert (scores[:, : min(k, count)] == np.take_along_axis(table, order, 1)).all()
    assert (found[:, count:] == -1).all() and np.isneginf(scores[:, count:]).all()
    own = cosines(queries, directions(rng, 3))
    wanted = (table[:, None, :] >= own[:, :, None]).sum(2)
    assert (count_at_least(queries, own, pieces) == wanted).all()
    assert (count_at_least(queries, own, gallery) == wanted).all()


def test_equal_scores_come_in_order_of_position():
    rows = directions(np.random.default_rng(0), 2)
    gallery = rows[[0, 1, 0, 1, 0]]
    scores, found = top_k(rows[:1], [gallery[:3], gallery[3:]], 3)
    assert found.tolist() == [[0, 2, 4]] and scores.tolist() == [[1, 1, 1]]
    assert count_at_least(rows[:1], np.ones((1, 1), np.float32), gallery).tolist() == [[3]]


def test_half_precision_on_disk_is_good_enough(tmp_path):
    rng = np.random.default_rng(1)
    rows, queries = directions(rng, 500, 64), directions(rng, 20, 64)
    stored = np.memmap(tmp_path / "gallery", np.float16, "w+", shape=rows.shape)
    stored[:] = rows
    exact, _ = top_k(queries, rows, 5)
    scores, _ = top_k(queries, stored, 5)
    assert np.abs(scores - exact).max() < 1e-3
    assert (stored == rows.astype(np.float16)).all()  # giving pages back loses nothing


def test_copy_on_write_keeps_what_was_written(tmp_path):
    rows = directions(np.random.default_rng(2), 50)
    rows.tofile(tmp_path / "gallery")
    private = np.memmap(tmp_path / "gallery", np.float32, "c", shape=rows.shape)
    private[7] = rows[0]
    _, found = top_k(rows[:1], private, 2)
    assert found.tolist() == [[0, 7]]
    assert (private[7] == rows[0]).all()


def test_a_gallery_of_no_embeddings_is_refused():
    with pytest.raises(EffaceError, match="gallery: row 1 has length 0, expected 1"):
        top_k(np.eye(3, dtype=np.float32), np.diag([1.0, 0.0, 1.0]), 1)


MILLION = """
import resource, sys
import numpy as np
from efface.metrics.search import count_at_least, top_k

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB

path, count, size = sys.argv[1], 1_000_000, 128
rng = np.random.default_rng(0)
queries = rng.standard_normal((32, size)).astype(np.float32)
queries /= np.linalg.norm(queries, axis=1, keepdims=True)
planted = rng.choice(count, 32, replace=False)
with open(path, "wb") as file:
    for start in range(0, count, 50_000):
        rows = rng.standard_normal((50_000, size), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        here = (start <= planted) & (planted < start + 50_000)
        rows[planted[here] - start] = queries[here]
        rows.tofile(file)
top_k(queries, rows[:1000], 5), count_at_least(queries, np.ones((32, 1), np.float32), rows[:1000])
before = peak()
gallery = np.memmap(path, np.float32, "r", shape=(count, size))
assert gallery.nbytes == 512_000_000
scores, found = top_k(queries, gallery, 5)
assert (found[:, 0] == planted).all() and (scores[:, 0] == 1).all()
fifth = count_at_least(queries, scores[:, [0, 4]], gallery)
assert (fifth == [1, 5]).all(), fifth  # counting and searching agree on the whole million
print("grew", peak() - before)
part = gallery[200_000:230_000]
table = queries.astype(np.float64) @ part.astype(np.float64).T
scores, found = top_k(queries, part, 5)
assert (found == np.argsort(-table, axis=1)[:, :5]).all()
own = np.sort(table)[:, [-3, -1000]].astype(np.float32)
assert (count_at_least(queries, own + np.float32(1e-6), part) == [2, 999]).all()
"""


def test_a_million_templates_in_bounded_memory(tmp_path):
    path = tmp_path / "gallery"
    alone = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # or they wait for other tests
    done = subprocess.run([sys.executable, "-c", MILLION, str(path)], capture_output=True, text=True, env=alone)
    path.unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[1]) < 400  # MiB; the gallery on disk has 488


def test_pieces_are_no_larger_than_said():
    gallery = np.tile(np.eye(64, dtype=np.float32), (3000, 1))
    sizes = [len(piece) for piece in search.pieces(gallery)]
    assert sum(sizes) == len(gallery) and max(sizes) * 64 * 4 <= search.PIECE_BYTES and len(sizes) > 1
