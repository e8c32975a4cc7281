"""The reader that follows a pickle's instructions: plain data comes out as Python's reader gives it, and no name that a
pickle calls is ever imported or executed."""

import io
import pickle
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from efface.models import unpickling
from efface.models.unpickling import Array, Name, Record, RefusedError
from snapshot_pickles import REPEATED

KEYS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
DATA = st.recursive(
    KEYS,
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner),
    max_leaves=10,
)
SETS = {
    f"{builtins}.{kind}": lambda values, made=made: made(unpickling.members(values))
    for builtins in ("builtins", "__builtin__")
    for kind, made in (("set", set), ("frozenset", frozenset))
}


def load(data: bytes, **options):
    return unpickling.load(io.BytesIO(data), {**unpickling.NUMPY, **SETS}, **options)


@given(value=DATA, members=st.sets(KEYS, max_size=5), protocol=st.integers(0, 5))
def test_plain_data_is_what_python_reads(value, members, protocol):
    assert repr(load(pickle.dumps([value, value], protocol))) == repr([value, value])
    assert load(pickle.dumps((members, frozenset(members)), protocol)) == (members, frozenset(members))


@pytest.mark.parametrize("protocol", range(6))
def test_shared_and_circular_lists(protocol):
    circle: list = [1]
    circle.append(circle)
    found = load(pickle.dumps(circle, protocol))
    assert found[0] == 1 and found[1] is found


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(3, dtype=">f4"),
        np.array([True, False]),
        np.array(3, np.int8),
        np.float32(2.5),
        np.array([], np.float16),
    ],
)
def test_arrays_are_what_numpy_reads(array, protocol):
    found = load(pickle.dumps(array, protocol))
    assert isinstance(found, Array)
    assert np.array_equal(found.numbers(), array) and found.numbers().dtype == array.dtype


@pytest.mark.parametrize("array", [np.array([{}], object), np.array(["text"]), np.zeros(1, [("a", "i4")])])
def test_arrays_of_other_things_have_no_numbers(array):
    found = load(pickle.dumps(array, 4), classes=True)
    with pytest.raises(ValueError, match="an array of type"):
        found.numbers()


def test_an_array_has_no_more_numbers_than_bytes():
    with pytest.raises(ValueError, match="reshape"):
        Array(b"\0" * 8, unpickling.Dtype("f4"), (10**6, 10**6)).numbers()
    with pytest.raises(TypeError, match="instead of bytes"):
        Array(10**12, unpickling.Dtype("u1"), (10**12,)).numbers()


CALL = [b"X\x04\0\0\0echo\x85R.", b"(X\x04\0\0\0echotR."]


@pytest.mark.parametrize(
    "name",
    [
        *("os.system", "posix.system", "nt.system", "builtins.eval", "builtins.exec", "__builtin__.eval"),
        *("subprocess.Popen", "commands.getoutput", "importlib.import_module", "builtins.getattr"),
        *("operator.attrgetter", "functools.partial", "types.FunctionType", "copyreg.add_extension"),
        *("copyreg._reconstructor", "copy_reg._reconstructor", "pickle.Unpickler", "webbrowser.open"),
        *("torch.load", "torch.hub.load", "numpy.load", "dnnlib.util.open_url", "torch_utils.os.system"),
    ],
)
def test_calls_are_refused_by_name(name):
    module, _, last = name.rpartition(".")
    told = f"{module}\n{last}\n".encode()
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, last))
    calls = [b"c" + told + CALL[0], b"c" + told + CALL[1], texts + b"\x93" + CALL[0]]
    calls += [b"(X\x04\0\0\0echoi" + told + b".", b"(c" + told + b"X\x04\0\0\0echoo."]
    for data in calls:
        with pytest.raises(RefusedError, match=rf"^wants to call {name}$"):
            load(data, classes=True)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "subprocess.Popen", "_posixsubprocess.fork_exec"])
def test_names_of_the_standard_library_are_refused_uncalled(name):
    module, _, last = name.rpartition(".")
    told = f"c{module}\n{last}\n".encode()
    for data in (told + b".", told + b"0N.", told + b")\x81.", told + b")}\x92."):
        with pytest.raises(RefusedError, match=name):
            load(data, classes=True)


@pytest.mark.parametrize(
    ("data", "wish"),
    [
        (b"\x82\x01.", "has the instruction EXT1"),
        (b"\x83\x01\x01.", "has the instruction EXT2"),
        (b"\x84\x01\x01\0\0.", "has the instruction EXT4"),
        (b"\x97.", "has the instruction NEXT_BUFFER"),
        (b"Pobject\n.", "asks for a persistent object"),
        (b"K\x01Q.", "asks for a persistent object"),
        (b"ctorch.nn\nLinear\n)R)R.", "wants to call a value of type Record"),
        (b"X\x04\0\0\0evalX\x03\0\0\0a()\x85R.", "wants to call a value of type str"),
        (b"cnumpy\nndarray\n)R.", "wants to call numpy.ndarray"),
    ],
)
def test_other_ways_to_a_call_are_refused(data, wish):
    with pytest.raises(RefusedError, match=f"^{wish}$"):
        load(data, classes=wish != "wants to call numpy.ndarray")


def test_unknown_classes_become_records_or_are_refused():
    made = b"ctorch.nn\nLinear\n(K\x02K\x03tR}X\x01\0\0\0aK\x01sb."
    found = load(made, classes=True)
    assert isinstance(found, Record)
    assert (found.name, found.args, found.state) == ("torch.nn.Linear", (2, 3), {"a": 1})
    assert load(b"ca.b\nlower\n)\x81.", classes=True).name == "a.b.lower"  # only a class can be the subject of NEWOBJ
    assert load(b"ca.b\nlower\n.", classes=True) == Name("a.b.lower")
    for data in (made, b"ca.b\nlower\n)\x81.", b"ca.b\nlower\n."):
        with pytest.raises(RefusedError):
            load(data)


def test_a_name_in_a_message_is_one_short_line():
    data = pickle.dumps(("\x1b[2J\nevil" + "x" * 5000, "run"), 4)[:-2].replace(b"\x86", b"\x93") + b")R."
    with pytest.raises(RefusedError) as caught:
        load(data, classes=True)
    assert "\\x1b[2J\\nevil" in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 120


@pytest.mark.parametrize("target", [b"cnumpy\ndtype\n", b"]", b"K\x01", b"N", b")"])
def test_no_state_is_set_on_what_is_no_object(target):
    with pytest.raises(ValueError, match="sets the state of a value of type"):
        load(target + b"}X\x04\0\0\0markK\x01sb.")


DEEP = 100_000


@pytest.mark.parametrize(
    "nested",
    [b")" + b"\x85" * DEEP, b"]" * DEEP + b"a" * (DEEP - 1), b"ca\nB\n" * DEEP + b")" + b"\x81\x85" * DEEP],
    ids=["tuples", "lists", "records"],
)
def test_deep_nesting_is_no_recursion(nested):
    load(nested + b".", classes=True)
    with pytest.raises(ValueError, match="a key of type"):
        load(b"}" + nested + b"Ns.", classes=True)


@pytest.mark.parametrize(
    "data",
    [
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.",  # bytes of 2 ** 63 - 1
        b"\x8e\0\0\0\0\0\x01\0\0ab.",
        b"B\xff\xff\xff\x7fab.",
        b"\x96\0\0\0\0\0\x01\0\0ab.",  # a bytearray
        b"\x8d\0\0\0\0\0\x01\0\0ab.",  # text
        b"X\xff\xff\xff\xffab.",
        b"\x8b\xff\xff\xff\x7fab.",  # an integer
        b"\x8b\xff\xff\xff\xffab.",  # of negative length
        b"\x80\x04\x95\0\0\0\0\0\x01\0\0N.",  # a frame
        b"I" + b"9" * 100_000 + b"\n.",
        b"r\xff\xff\xff\xff.",  # nothing to put into the memo
        b"j\xff\xff\xff\xff.",
        b"",
        b"\x80",
        b"\xff.",
        b"0.",
        b"t.",
        b".",
        b"(.",
        b"]K\x01",
        b"}(K\x01u.",
        b"K\x01K\x02s.",
        b"K\x01K\x02a.",
        b"K\x01K\x02\x93.",
        b"cos\n.",
        b"(o.",
    ],
)
def test_sizes_beyond_the_file_and_broken_pickles_raise_at_once(data):
    with pytest.raises(Exception) as caught:
        load(data, classes=True)
    assert not isinstance(caught.value, RefusedError | RecursionError | MemoryError)


def test_a_large_index_takes_no_memory():
    assert load(b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.") is None


def test_what_is_stored_once_cannot_be_copied_over_and_over():
    text = b"X\x10'\0\0" + b"a" * 10_000 + b"\x940"
    with pytest.raises(ValueError, match="more data than the file holds"):
        load(text + b"c_codecs\nencode\n\x940" + b"h\x01h\x00\x85R" * 1000 + b".")
    pairs = b"](" + b"".join(b"K%cN\x86" % i for i in range(200)) + b"e\x940"
    with pytest.raises(ValueError, match="more data than the file holds"):
        unpickling.load(io.BytesIO(pairs + b"h\x00\x85" * 5 + b"ca\nb\n\x940h\x01h\x00\x85R" * 40), {"a.b": dict})


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("tuple", "more data than the file holds"),
        ("set", "more data than the file holds"),
        ("name", r"^wants to call a+\.\.\.$"),
        ("key", "a key of 7999993 bits"),
    ],
)
def test_what_is_stored_once_cannot_be_used_over_and_over(name, line):
    with pytest.raises((ValueError, RefusedError), match=line):
        load(REPEATED[name], classes=True)


def test_functions_go_through_plain_values_alone():
    wide = torch.empty(10**12, 0)  # takes no memory until somebody goes through it
    for call in (unpickling.members, unpickling.mapping):
        with pytest.raises(ValueError, match="the members of a value of type Tensor"):
            call(wide)


PIECES = [
    *(b"(", b"N", b"K\x01", b"K\x00", b")", b"]", b"}", b"\x8f", b"0", b"1", b"2", b"\x8c\x01a", b"C\x02ab", b"\x88"),
    *(b"t", b"l", b"d", b"\x85", b"\x86", b"\x87", b"a", b"e", b"s", b"u", b"\x90", b"\x91", b"b", b"R", b"o"),
    *(b"\x81", b"\x92", b"\x93", b"\x94", b"h\x00", b"h\x01", b"q\x00", b"Q", b"\x82\x01", b"\x8c\x02os"),
    *(b"cos\nsystem\n", b"iposix\nsystem\n", b"cbuiltins\neval\n", b"ca.b\nThing\n", b"ca.b\nthing\n"),
    *(b"\x8c\x06system", b"\x8c\x04eval", b"\x8c\x08builtins", b"cnumpy\ndtype\n", b"c_codecs\nencode\n"),
    *(b"cnumpy.core.multiarray\nscalar\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"cbuiltins\nset\n"),
]
"""Instructions, the dangerous ones included."""

EXECUTING = ("os.", "subprocess.", "exec", "compile", "import", "pickle.", "open", "code.", "marshal.")
WATCHED: list[str] | None = None


def _watch(event: str, arguments: object) -> None:
    if WATCHED is not None and event.startswith(EXECUTING):
        WATCHED.append(event)


sys.addaudithook(_watch)


@settings(max_examples=1000)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=40))
def test_no_list_of_instructions_executes_anything(pieces):
    global WATCHED
    WATCHED = []
    try:
        load(b"".join(pieces) + b".", classes=True)
    except (RecursionError, MemoryError):
        raise
    except Exception:
        pass
    finally:
        seen, WATCHED = WATCHED, None
    assert not seen


def test_the_watch_sees_what_pickle_would_do():
    global WATCHED
    WATCHED = []
    pickle.loads(b"cos\ngetpid\n)R.")
    seen, WATCHED = WATCHED, None
    assert "pickle.find_class" in seen
