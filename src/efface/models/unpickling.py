"""What a pickle says, read without doing it. A pickle is a program that names functions and calls them; here its
instructions are followed over inert data: nothing is imported, and nothing is called but the functions given here.

Which names may be called (REDUCE, INST, OBJ):
1. a known name: our own function, which only arranges data, is called in its stead;
2. a name of the standard library that is not known is refused as soon as it is named, called or not;
3. of the others, where unknown classes are let through, what begins with a capital is taken for a class: it becomes a
   `Record` of its name, arguments and state. So does whatever NEWOBJ makes, which can only be a class;
4. any other name, extension codes and persistent objects are refused by name.

Memory is bounded by the file: lengths that it claims are held against the bytes that are there, the memo is a dict,
functions are given no more data in all than the file has bytes, names and whole numbers that are keys are short, and
nothing recurses, however deep the nesting.

Format: https://docs.python.org/3/library/pickletools.html, protocols 0 to 5.
"""

import io
import pickletools
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

Known = Mapping[str, Callable[..., Any] | None]
"""Dotted names that a pickle may use, and what is called in their stead; None where the name itself is all."""

LONGEST, WIDEST = 1000, 2**16
"""Characters of a dotted name and bits of a whole number that is a key, at most: at each use the one is made anew and
the other hashed."""

STANDARD = sys.stdlib_module_names | {"__builtin__", "copy_reg", "commands", "exceptions"}
"""Modules of the standard library, and what Python 2 called some of them."""


class RefusedError(Exception):
    """The pickle wants this (a verb and its object): "wants to call os.system"."""


@dataclass(frozen=True)
class Name:
    """A dotted name that the pickle refers to; never imported."""

    dotted: str
    build: Callable[..., Any] | None = None


@dataclass(eq=False)
class Record:
    """Stands for an object of a class that is not imported."""

    name: str
    """The class's dotted name."""
    args: tuple[Any, ...] = ()
    state: Any = None
    """What its `__setstate__` would have been given; of a dict's subclass the entries."""


class Dtype:
    """Stands for a numpy dtype."""

    def __init__(self, name: str | bytes, *_: Any) -> None:
        self.name = name.decode() if isinstance(name, bytes) else name
        self.order = "|"

    def set(self, state: tuple[Any, ...]) -> None:
        """Take (version, byte order, ...)."""
        order = state[1]
        self.order = order.decode() if isinstance(order, bytes) else order


class Array:
    """Stands for a numpy array or scalar: its type, shape and bytes, of which nothing is checked before they are
    asked for."""

    def __init__(self, data: Any = b"", dtype: Any = None, shape: Any = (), order: Any = "C") -> None:
        self.data, self.dtype, self.shape, self.fortran = data, dtype, shape, order == "F"

    def set(self, state: tuple[Any, ...]) -> None:
        """Take (version, shape, dtype, Fortran order?, bytes)."""
        _, self.shape, self.dtype, self.fortran, self.data = state

    def numbers(self) -> np.ndarray:
        """Its values. Raises an exception where they are not plain numbers or not as many as the shape says."""
        name = self.dtype.name.lstrip("<>|=")
        if not re.fullmatch(r"[biuf][1248]|\?", name):
            raise ValueError(f"an array of type {shown(name)}")
        values = np.frombuffer(latin1(self.data), self.dtype.order.replace("|", "=") + name)
        return values.reshape(self.shape, order="F" if self.fortran else "C")


def latin1(text: str | bytes | bytearray, _encoding: str | bytes = "latin1") -> bytes:
    """Bytes; of a text the characters as bytes, how Python 3 writes bytes in protocol 2 and below."""
    if not isinstance(text, str | bytes | bytearray):
        raise TypeError(f"found {type(text).__name__} instead of bytes")
    return text.encode("latin1") if isinstance(text, str) else bytes(text)


NUMPY: Known = {
    "numpy.ndarray": None,
    "numpy.dtype": Dtype,
    "_codecs.encode": latin1,
    "__builtin__.bytes": lambda: b"",  # how protocol 2 and below write empty bytes
    **{f"numpy.{core}.multiarray._reconstruct": lambda *_: Array() for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": lambda dtype, data: Array(data, dtype) for core in ("core", "_core")},
    **{
        f"numpy.{core}.numeric._frombuffer": lambda data, dtype, shape, order: Array(data, dtype, shape, order)
        for core in ("core", "_core")
    },
}
"""What numpy arrays, numpy scalars and bytes are made of."""


def load(stream: IO[bytes], known: Known, classes: bool = False, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The content of one pickle; the stream stands behind it afterwards.

    known: the names that it may use. classes: let unknown classes through as records. persistent: makes an object of a
    persistent identifier; where it is None they are refused.
    Raises RefusedError for what it must not want, and any Exception where the pickle is broken or truncated.
    """
    start = stream.tell()
    stream.seek(0, io.SEEK_END)
    end = stream.tell()
    stream.seek(start)
    machine = _Machine(known, classes, persistent, end - start)
    argument: Any
    for instruction, argument, _ in pickletools.genops(stream):
        name = instruction.name
        if name in _CONSTANTS:
            machine.push(argument)
        elif name in _TEXTS_OF_PYTHON_2:
            machine.push(latin1(argument))
        elif name == "FRAME":
            if argument > end - stream.tell():
                raise ValueError(f"a frame of {argument} bytes where {end - stream.tell()} are left")
        elif name in _STEPS:
            _STEPS[name](machine, argument)
        else:
            raise RefusedError(f"has the instruction {name}")
    return machine.pop()


class _Machine:
    """The stack, the memo, and the instructions that are more than a constant."""

    def __init__(self, known: Known, classes: bool, persistent: Callable[[Any], Any] | None, size: int) -> None:
        self.known, self.classes, self.persistent = known, classes, persistent
        self.left = size
        """How much data functions may still be given; what is stored once and used a million times would add up."""
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        """The stacks under each mark."""
        self.memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise ValueError("takes from an empty stack")
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack:
            raise ValueError("looks at an empty stack")
        return self.stack[-1]

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        if not self.below:
            raise ValueError("looks for a mark that was not set")
        values, self.stack = self.stack, self.below.pop()
        return values

    def drop(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.to_mark()

    def taken(self, count: int) -> tuple[Any, ...]:
        return tuple(reversed([self.pop() for _ in range(count)]))

    def remember(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        self.push(self.memo[index])

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(map(_key, values))
        elif not isinstance(target, Record):  # a list's subclass: what it collects is not kept
            raise ValueError(f"adds to a value of type {type(target).__name__}")

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, Record):
            target.state = target.state if isinstance(target.state, dict) else {}
            target = target.state
        if not isinstance(target, dict):
            raise ValueError(f"sets items of a value of type {type(target).__name__}")
        target.update(_dict(values))

    def name(self, module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        dotted = f"{module}.{name}"
        if dotted in self.known:
            return Name(dotted, self.known[dotted])
        if not self.classes or len(dotted) > LONGEST or module.partition(".")[0] in STANDARD:
            raise RefusedError(f"wants to call {shown(dotted)}")
        return Name(dotted)

    def call(self, name: Any, args: Any, new: bool = False) -> None:
        """new: by NEWOBJ, which only classes can be."""
        if not isinstance(name, Name):
            raise RefusedError(f"wants to call a value of type {type(name).__name__}")
        if not isinstance(args, tuple):
            raise ValueError(f"arguments of type {type(args).__name__}")
        if name.build is not None:
            self.left -= sum(len(value) for value in args if isinstance(value, _SIZED))
            if self.left < 0:
                raise ValueError("calls functions on more data than the file holds")
            self.push(name.build(*args))
        elif self.classes and (new or name.dotted.rpartition(".")[2].lstrip("_")[:1].isupper()):
            self.push(Record(name.dotted, args))
        else:
            raise RefusedError(f"wants to call {shown(name.dotted)}")

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Record):
            target.state = state
        elif isinstance(target, Array | Dtype):
            target.set(state)
        elif not isinstance(target, dict):  # a dict's subclass may have attributes: they are not kept
            raise ValueError(f"sets the state of a value of type {type(target).__name__}")

    def reduce(self, new: bool = False) -> None:
        name, args = self.taken(2)
        self.call(name, args, new)

    def new_with_keywords(self) -> None:
        name, args, keywords = self.taken(3)
        if keywords:
            raise ValueError("keyword arguments of a class")
        self.call(name, args, new=True)

    def instance(self, module: str, name: str) -> None:
        self.call(self.name(module, name), tuple(self.to_mark()))

    def object(self) -> None:
        values = self.to_mark()
        self.call(values[0], tuple(values[1:]))

    def persist(self, identifier: Any) -> None:
        if self.persistent is None:
            raise RefusedError("asks for a persistent object")
        self.push(self.persistent(identifier))


_SIZED = str | bytes | bytearray | list | tuple | dict | set | frozenset
"""Of what functions are given, that which has a length."""

_CONSTANTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_TEXTS_OF_PYTHON_2 = {"STRING", "BINSTRING", "SHORT_BINSTRING"}

_STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda m, _: None,
    "STOP": lambda m, _: None,
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "TUPLE1": lambda m, _: m.push(m.taken(1)),
    "TUPLE2": lambda m, _: m.push(m.taken(2)),
    "TUPLE3": lambda m, _: m.push(m.taken(3)),
    "TUPLE": lambda m, _: m.push(tuple(m.to_mark())),
    "LIST": lambda m, _: m.push(m.to_mark()),
    "DICT": lambda m, _: m.push(_dict(m.to_mark())),
    "FROZENSET": lambda m, _: m.push(frozenset(map(_key, m.to_mark()))),
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.drop(),
    "POP_MARK": lambda m, _: m.to_mark(),
    "DUP": lambda m, _: m.push(m.top()),
    "APPEND": lambda m, _: m.append([m.pop()]),
    "APPENDS": lambda m, _: m.append(m.to_mark()),
    "ADDITEMS": lambda m, _: m.append(m.to_mark()),
    "SETITEM": lambda m, _: m.set_items(list(m.taken(2))),
    "SETITEMS": lambda m, _: m.set_items(m.to_mark()),
    "PUT": lambda m, index: m.remember(index),
    "BINPUT": lambda m, index: m.remember(index),
    "LONG_BINPUT": lambda m, index: m.remember(index),
    "MEMOIZE": lambda m, _: m.remember(len(m.memo)),
    "GET": lambda m, index: m.recall(index),
    "BINGET": lambda m, index: m.recall(index),
    "LONG_BINGET": lambda m, index: m.recall(index),
    "GLOBAL": lambda m, names: m.push(m.name(*names.split(" ", 1))),
    "STACK_GLOBAL": lambda m, _: m.push(m.name(*m.taken(2))),
    "REDUCE": lambda m, _: m.reduce(),
    "NEWOBJ": lambda m, _: m.reduce(new=True),
    "NEWOBJ_EX": lambda m, _: m.new_with_keywords(),
    "INST": lambda m, names: m.instance(*names.split(" ", 1)),
    "OBJ": lambda m, _: m.object(),
    "BUILD": lambda m, _: m.build(),
    "PERSID": lambda m, identifier: m.persist(identifier),
    "BINPERSID": lambda m, _: m.persist(m.pop()),
}
"""All but the extension codes and the buffers outside of the file, which are refused."""


def mapping(pairs: Any = ()) -> dict[Any, Any]:
    """A dict of pairs: what stands for OrderedDict and other dicts."""
    return {_key(key): value for key, value in _several(pairs)}


def members(values: Any = ()) -> set[Any]:
    """What stands for set."""
    return set(map(_key, _several(values)))


def _several(values: Any) -> Any:
    """Plain values in a row: to go through others, tensors say, may cost more than they take in the file."""
    if not isinstance(values, _SIZED | zip):
        raise ValueError(f"the members of a value of type {type(values).__name__}")
    return values


def _dict(values: list[Any]) -> dict[Any, Any]:
    if len(values) % 2:
        raise ValueError("a key without a value")
    return mapping(zip(values[::2], values[1::2], strict=True))


def _key(value: Any) -> Any:
    """A plain value: to hash others may recurse as deep as they are nested."""
    if value is not None and not isinstance(value, str | bytes | int | float):
        raise ValueError(f"a key of type {type(value).__name__}")
    if isinstance(value, int) and value.bit_length() > WIDEST:
        raise ValueError(f"a key of {value.bit_length()} bits")
    return value


def shown(dotted: str) -> str:
    """In one short line, whatever characters it has."""
    text = ascii(dotted)[1:-1]
    return text if len(text) <= 100 else text[:97] + "..."
