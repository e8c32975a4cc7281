"""Weights on disk: what a published file holds, whether it fits a network, and writing it back.

Formats: safetensors, torch (.pt, .pth, .pth.tar; zip or legacy) and MXNet's .params, recognised by content; ONNX, which
has no mark of its own, by the suffix .onnx.
"""

import contextlib
import io
import itertools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

import efface
from efface import registry
from efface.errors import EffaceError, line_of
from efface.models import mxnet, onnx_file, onnx_graph, pickles, scatter
from efface.models.recogniser import Recogniser

IGNORED = "num_batches_tracked"
"""A counter that plays no part in evaluation: it may be missing, and may be there where the network has none."""

RESERVED = "__metadata__"
"""The name under which a safetensors file keeps its header: no tensor can have it."""


def read(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a weights file, on the CPU; the prefix `module.` of a data-parallel run is taken off.

    Raises EffaceError, in one line, for a file that is missing, a folder, truncated, of another format or hostile.
    """
    return {_plain(name): tensor for name, tensor in _published(path)[1].items()}


def load(spec: Recogniser, path: Path) -> nn.Module:
    """The network of `spec` with the weights of `path`, float32, in evaluation mode; with the module behind it that the
    file holds (models/scatter.py), if any.

    Raises EffaceError as `read` does, and for tensors that are missing, too many, of another shape or type, or not
    finite; where the file fits another registered network, the line says which.
    """
    if _format(path) == "onnx" and spec.name != "onnx":  # it could be read by name, but not be written back
        raise EffaceError(f"{path}: found an ONNX file, expected the weights of {_describe(spec)}; name the model onnx")
    published, added = _divided(read(path), path)
    network = spec.build()
    if added:
        module = _module(added, path)
        if module.mix.out_features != spec.embedding_size:
            raise EffaceError(
                f"{path}: found a module for embeddings of {module.mix.out_features} dimensions, expected "
                f"{spec.embedding_size} as {_describe(spec)} has; check the model and the file"
            )
        scatter.attach(network, module)
    tensors, expected = _counted(spec.adapt(published) | added), _counted(network.state_dict())
    problem = misfit(tensors, expected)
    if problem:
        others = " or ".join(_fitting(path))
        if others:
            raise EffaceError(f"{path}: found weights of {others}, expected {_describe(spec)}; name that model")
        raise EffaceError(f"{path}: {problem}, expected the weights of {_describe(spec)}; check the model and the file")
    check_values(tensors, path)
    network.load_state_dict({n: t.float() for n, t in tensors.items()}, strict=False)  # names were checked above
    return network.eval()


def check_values(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise EffaceError where weights are not floating point or not finite."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise EffaceError(f"{path}: {name} holds {tensor.dtype}, expected floating point; export the weights again")
        broken = int((~torch.isfinite(tensor)).sum())
        if broken:
            raise EffaceError(
                f"{path}: {broken} of {tensor.numel()} values of {name} are NaN or infinite, expected finite weights; "
                "fetch or train them again"
            )


def header(spec: Recogniser, source: Path | None = None, **extra: str) -> dict[str, str]:
    """What a safetensors file of ours says of itself: network, fields, origin, licence, input convention, version.
    Origin and licence are those of the header of `source` where it has them, else those that the network states."""
    known = {} if source is None else read_header(source)
    return {
        "network": spec.name,
        "fields": json.dumps(_values(spec), sort_keys=True),
        "origin": known.get("origin", spec.origin),
        "licence": known.get("licence", spec.licence),
        "input": json.dumps(asdict(spec.convention), sort_keys=True),
        "efface": efface.__version__,
        **extra,
    }


def read_header(path: Path) -> dict[str, str]:
    """The metadata of a safetensors or ONNX file; empty for other formats. Raises EffaceError as `read` does."""
    kind = _format(path)
    if kind == "onnx":
        return {entry.key: entry.value for entry in onnx_file.load(path).metadata_props}
    if kind != "safetensors":
        return {}
    try:
        with safetensors.safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except Exception as error:
        raise _unreadable(path, "safetensors", error) from error


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write safetensors, atomically; the same tensors and metadata give the same bytes.

    Raises EffaceError, and leaves what was there, where the file cannot be written or a tensor has the header's name.
    """
    if RESERVED in tensors:
        raise EffaceError(
            f"{path}: found a tensor named {RESERVED}, expected another name: safetensors files keep their header "
            "under it; rename the tensor"
        )
    _write(path, lambda partial: _write_safetensors(partial, tensors, metadata))


def save_as(path: Path, tensors: Mapping[str, Tensor], spec: Recogniser, like: Path) -> None:
    """Write the network's tensors in the format, names, order and types of the published file `like`, atomically.

    Of a wrapped training checkpoint only the plain state dict is written. Entries that the network does not have
    (counters) are copied from `like`. Raises EffaceError as `read` and `save` do.
    """
    kind, published = _published(like)
    if kind == "onnx":
        content = onnx_graph.written(like, spec.convention.size, tensors)
        _write(path, lambda partial: partial.write_bytes(content))
        return
    by_identity = {
        id(tensor): name for name, tensor in spec.adapt({_plain(n): t for n, t in published.items()}).items()
    }
    renewed = {}
    for name, old in published.items():
        new = tensors.get(by_identity[id(old)], old)
        if new.shape != old.shape:
            raise EffaceError(f"{path}: {name} has shape {tuple(new.shape)}, expected {tuple(old.shape)} as in {like}")
        renewed[name] = new.detach().cpu().to(old.dtype).contiguous()
    if kind == "safetensors":
        save(path, renewed, read_header(like))
        return
    content = mxnet.params_bytes(renewed) if kind == "params" else _torch_bytes(renewed)
    _write(path, lambda partial: partial.write_bytes(content))


def save_grouped(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors of two groups, `group.name`, as the suffix says: safetensors, or a torch file {group: {name: …}},
    which holds no metadata; atomically."""
    if path.suffix == ".safetensors":
        save(path, tensors, metadata)
        return
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(".")
        groups.setdefault(group, {})[rest] = tensor.detach().cpu().contiguous()
    content = _torch_bytes(groups)
    _write(path, lambda partial: partial.write_bytes(content))


def _published(path: Path) -> tuple[str, dict[str, Tensor]]:
    """(format, what the file holds under the file's own names)."""
    kind = _format(path)
    if kind == "params":
        return kind, mxnet.read_params(path)
    if kind == "torch":
        return kind, pickles.read_checkpoint(path)
    if kind == "onnx":
        return kind, onnx_file.tensors(onnx_file.load(path), path)
    try:
        return kind, safetensors.torch.load_file(path, device="cpu")
    except Exception as error:
        raise _unreadable(path, kind, error) from error


def _format(path: Path) -> Literal["safetensors", "torch", "params", "onnx"]:
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise EffaceError(f"{path}: cannot be read ({error.strerror}); expected a weights file") from error
    if path.suffix == ".onnx":
        return "onnx"
    if start[:8] == mxnet.MAGIC:
        return "params"
    if start[8:] == b"{":  # after the length of the header
        return "safetensors"
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05") or path.suffix in (
        ".pt",
        ".pth",
        ".tar",
    ):
        return "torch"
    raise EffaceError(
        f"{path}: found {f'bytes {start.hex()}...' if start else 'an empty file'}, expected weights in the format "
        "safetensors, torch (.pt, .pth), MXNet (.params) or ONNX (.onnx)"
    )


def _plain(name: str) -> str:
    return name.removeprefix("module.")


def _divided(tensors: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(the recogniser's own tensors, those of the module behind it if there is one). Raises EffaceError where the
    header says another thing of a module than the file holds."""
    added = {name: tensor for name, tensor in tensors.items() if name.startswith(scatter.PREFIX)}
    said = read_header(path).get("module")
    if added and said != scatter.NAME:
        raise EffaceError(
            f"{path}: found tensors {scatter.PREFIX}* and in the header {f'module: {said}' if said else 'no module'}, "
            f"expected `module: {scatter.NAME}` there; give the file as efface wrote it"
        )
    if said == scatter.NAME and not added:
        raise EffaceError(
            f"{path}: found no tensors {scatter.PREFIX}*, expected those of the module that the header names; give the "
            "file as efface wrote it (without them it recognises everybody)"
        )
    return {name: tensor for name, tensor in tensors.items() if name not in added}, added


def _module(tensors: Mapping[str, Tensor], path: Path) -> scatter.Scatter:
    try:
        return scatter.Scatter.of(scatter.own_tensors(tensors))
    except EffaceError as error:
        raise EffaceError(f"{path}: {error}") from error


def _counted(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that count in evaluation."""
    return {n: t for n, t in tensors.items() if not n.endswith(IGNORED)}


def misfit(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What keeps the tensors from fitting, in words; empty where they fit."""
    missing = [n for n in expected if n not in tensors]
    extra = [n for n in tensors if n not in expected]
    wrong = [n for n in expected if n in tensors and tensors[n].shape != expected[n].shape]
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(expected)} tensors missing ({_few(missing)})")
    if extra:
        parts.append(f"{len(extra)} unknown ({_few(extra)})")
    if wrong:
        n = wrong[0]
        shapes = f"{n} is {list(tensors[n].shape)}, not {list(expected[n].shape)}"
        parts.append(f"{len(wrong)} of a wrong shape ({shapes})")
    return "found " + " and ".join(parts) if parts else ""


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _fitting(path: Path) -> Iterator[str]:
    """Registered networks, with any of their fields' choices, that the file would fit. Only asked after a misfit."""
    tensors = _counted(_divided(read(path), path)[0])
    for name in registry.names("models.recognition"):
        for spec in _choices(registry.get("models.recognition", name)):
            try:
                with torch.device("meta"):
                    expected = spec.build().state_dict()
            except EffaceError:  # a network that is built from its file
                continue
            if not misfit(*({n: t for n, t in s.items() if IGNORED not in n} for s in (spec.adapt(tensors), expected))):
                yield _describe(spec)


def _choices(kind: type[Any]) -> Iterator[Recogniser]:
    """The class with every combination of those fields whose type is Literal[...]."""
    hints = get_type_hints(kind)
    options = {f.name: get_args(hints[f.name]) for f in fields(kind) if get_origin(hints[f.name]) is Literal}
    if any(f.name not in options and f.default is MISSING and f.default_factory is MISSING for f in fields(kind)):
        return  # a field without default: its choices cannot be guessed
    for values in itertools.product(*options.values()):
        yield kind(**dict(zip(options, values, strict=True)))


def _values(spec: Any) -> dict[str, Any]:
    """The fields, but for those that hold what a file said."""
    return {f.name: getattr(spec, f.name) for f in fields(spec) if f.repr}


def _describe(spec: Recogniser) -> str:
    values = ", ".join(f"{n} {v}" for n, v in _values(spec).items())
    return f"{spec.name} ({values})" if values else spec.name


def _write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    path.touch()
    mode = path.stat().st_mode
    safetensors.torch.save_file(plain, path, dict(metadata))
    path.chmod(mode)  # the library lets nobody else read
    with open(path, "r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        head = json.loads(file.read(size))  # the library writes the metadata in an order that changes from run to run
        head["__metadata__"] = dict(sorted(metadata.items()))
        text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(size))


def _torch_bytes(tensors: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(dict(tensors), buffer)
    return buffer.getvalue()


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make a temporary file, then rename it."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        os.replace(partial, path)
    except (OSError, safetensors.SafetensorError) as error:
        with contextlib.suppress(OSError):  # below a file there is nothing to remove
            partial.unlink(missing_ok=True)
        number = re.search(r"os error (\d+)", str(error))  # how safetensors says it
        reason = os.strerror(int(number[1])) if number else getattr(error, "strerror", None) or error
        raise EffaceError(f"{path}: cannot be written ({reason}); free the disk or choose another folder") from error


def _unreadable(path: Path, kind: str, error: Exception) -> EffaceError:
    return EffaceError(f"{path}: not readable as {kind} ({line_of(error)}); it may be truncated: fetch it again")
