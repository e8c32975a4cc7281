"""The restricted pickle reader: verification sets are read, and nothing that a pickle names is executed."""

import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from efface.errors import EffaceError
from efface.models.pickles import read_bin, read_checkpoint

PICTURES = [b"\xff\xd8first", b"\xff\xd8second \x00\xfe", b"third", b"fourth"]


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return (Path.write_text, (self.canary, "executed"))


class Shell:
    def __init__(self, canary: Path) -> None:
        self.command = f"touch {canary}"

    def __reduce__(self):
        import os

        return (os.system, (self.command,))


def one_line(caught: pytest.ExceptionInfo[EffaceError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["bytes", "arrays"])
def test_verification_sets_written_by_python_3(tmp_path, protocol, kind):
    pictures = PICTURES if kind == "bytes" else [np.frombuffer(p, np.uint8) for p in PICTURES]
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps((pictures, [True, False]), protocol=protocol))
    assert read_bin(path) == (PICTURES, [True, False])


@pytest.mark.parametrize("same", [np.array([True, False]), [np.True_, np.False_], [1, 0]])
@pytest.mark.parametrize("protocol", [2, 4])
def test_answers_may_be_numpy_booleans_or_integers(tmp_path, same, protocol):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps((PICTURES, same), protocol=protocol))
    assert read_bin(path)[1] == [True, False]


def python_2_string(data: bytes) -> bytes:
    return b"U" + bytes([len(data)]) + data  # SHORT_BINSTRING: bytes to Python 2, a str to Python 3


def python_2_array(data: bytes) -> bytes:
    """A uint8 array as Python 2's numpy pickles it in protocol 2."""
    new = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + python_2_string(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + python_2_string(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + python_2_string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return new + b"(K\x01K" + bytes([len(data)]) + b"\x85" + dtype + b"\x89" + python_2_string(data) + b"tb"


@pytest.mark.parametrize("written", [python_2_string, python_2_array])
def test_verification_sets_written_by_python_2(tmp_path, written):
    path = tmp_path / "set.bin"
    path.write_bytes(b"\x80\x02](" + b"".join(written(p) for p in PICTURES) + b"e](\x88\x89e\x86.")
    assert read_bin(path) == (PICTURES, [True, False])


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("hostile", [Hostile, Shell])
def test_a_hostile_verification_set_is_refused_by_name_and_not_executed(tmp_path, protocol, hostile):
    path, canary = tmp_path / "set.bin", tmp_path / "canary"
    path.write_bytes(pickle.dumps(([hostile(canary)], [True]), protocol=protocol))
    with pytest.raises(EffaceError) as caught:
        read_bin(path)
    wanted = "system" if hostile is Shell else "getattr" if protocol < 4 else "Path.write_text"
    assert wanted in one_line(caught) and "refused, nothing was executed" in one_line(caught)
    assert not canary.exists()


def test_arrays_of_objects_are_refused(tmp_path):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps(([np.array([{"a": 1}], dtype=object)], [True])))
    with pytest.raises(EffaceError, match=r"numpy\.dtype\('O8'\)"):
        read_bin(path)


def test_what_a_pickle_sets_on_a_stand_in_is_gone_with_it(tmp_path):
    path = tmp_path / "set.bin"
    # numpy.dtype; BUILD with {"mark": 1} sets an attribute on the object that the name resolved to
    path.write_bytes(b"\x80\x02cnumpy\ndtype\n}U\x04markK\x01sb.")
    with pytest.raises(EffaceError, match="not a readable verification set"):
        read_bin(path)
    good = tmp_path / "good.bin"
    good.write_bytes(pickle.dumps(([np.frombuffer(p, np.uint8) for p in PICTURES], [True, False])))
    assert read_bin(good) == (PICTURES, [True, False])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (pickle.dumps((PICTURES, [True])), "found 4 pictures and 1 answers"),
        (pickle.dumps((PICTURES, ["yes", "no"])), "instead of a boolean"),
        (pickle.dumps(([1, 2], [True])), "instead of bytes"),
        (pickle.dumps({"a": 1}), "not a readable verification set"),
        (pickle.dumps((PICTURES, [True, False]))[:-20], "not a readable verification set"),
        (b"", "not a readable verification set"),
        (b"no pickle at all", "not a readable verification set"),
    ],
)
def test_other_contents_are_one_line(tmp_path, content, expected):
    path = tmp_path / "set.bin"
    path.write_bytes(content)
    with pytest.raises(EffaceError, match=expected) as caught:
        read_bin(path)
    assert str(path) in one_line(caught)


def test_a_missing_verification_set_is_one_line(tmp_path):
    with pytest.raises(EffaceError, match="No such file") as caught:
        read_bin(tmp_path / "set.bin")
    one_line(caught)


TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap", [lambda t: t, OrderedDict, lambda t: {"state_dict": t, "epoch": 3}, lambda t: {"epoch": 3, "model": t}]
)
def test_checkpoints_plain_wrapped_and_legacy(tmp_path, legacy, wrap):
    path = tmp_path / "weights.pt"
    torch.save(wrap(TENSORS), path, _use_new_zipfile_serialization=not legacy)
    found = read_checkpoint(path)
    assert list(found) == list(TENSORS)
    assert all(torch.equal(found[n], TENSORS[n]) for n in TENSORS)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("hostile", [Hostile, Shell])
def test_a_hostile_checkpoint_is_refused_by_name_and_not_executed(tmp_path, legacy, hostile):
    path, canary = tmp_path / "weights.pt", tmp_path / "canary"
    torch.save({**TENSORS, "x": hostile(canary)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(EffaceError, match="the pickle wants to call") as caught:
        read_checkpoint(path)
    assert ("getattr" if hostile is Hostile else "system") in one_line(caught)
    assert not canary.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_bare_hostile_pickle_as_weights(tmp_path, protocol):
    path, canary = tmp_path / "weights.pt", tmp_path / "canary"
    path.write_bytes(pickle.dumps(Shell(canary), protocol=protocol))
    with pytest.raises(EffaceError, match=r"the pickle wants to call \w+\.system, expected only tensors") as caught:
        read_checkpoint(path)
    one_line(caught)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2], "a value of type list"),
        ({}, "a value of type dict"),
        ({"a": 1}, "a value of type int under 'a'"),
        ({1: torch.zeros(2)}, "under 1"),
        (torch.nn.Linear(2, 2), r"wants to call torch\.nn\.modules\.linear\.Linear"),
    ],
)
def test_what_is_no_state_dict_is_one_line(tmp_path, content, expected):
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(EffaceError, match=expected) as caught:
        read_checkpoint(path)
    one_line(caught)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_checkpoint_is_one_line(tmp_path, legacy, share):
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.zeros(5000)}, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(EffaceError, match="truncated") as caught:
        read_checkpoint(path)
    one_line(caught)
