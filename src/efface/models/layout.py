"""Folders of diffusion models, here or on a hub: their parts found, read, checked and written."""

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efface.errors import EffaceError, line_of
from efface.models.weights import check_values, misfit, read

CHANGED = "changed.safetensors"
"""The UNet's tensors that an unlearning changed, alone."""


def require_diffusers() -> None:
    """Raise EffaceError where the libraries of diffusion models are not installed."""
    for name in ("diffusers", "transformers"):
        try:
            found = importlib.util.find_spec(name) is not None
        except ValueError:  # half imported, or kept out
            found = False
        if not found:
            raise EffaceError(
                f"{name}: found no such package, and diffusion models need it; run pip install 'efface[diffusion]'"
            )


def located(weights: Path, files: Sequence[str]) -> Path:
    """The folder itself, or where a hub id (`owner/name`) lies on this machine once huggingface_hub has looked in its
    cache and, where it may, fetched `files` (patterns). Raises EffaceError where there is neither."""
    if weights.is_dir():
        return weights
    name = weights.as_posix()
    if weights.exists() or weights.is_absolute() or name.count("/") != 1 or name.startswith("."):
        raise EffaceError(
            f"{weights}: found no such folder, expected one with the model's parts; name it, or a hub id OWNER/NAME"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except Exception as error:  # of the network, the cache, the hub: each has its own
        raise EffaceError(
            f"{weights}: found no such folder, and as a hub id it cannot be had ({line_of(error)}); fetch it, and name "
            "the folder"
        ) from error


def part(name: str, folders: Sequence[Path], advice: str = "fetch it") -> Path:
    """The file or folder of this name in the first of the folders that has it. Raises EffaceError, which ends in the
    advice, where none has."""
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    others = "".join(f", nor in {folder}" for folder in folders[1:])
    raise EffaceError(f"{folders[0]}: found no {name} there{others}, expected that part of the model; {advice}")


def settings(path: Path) -> dict[str, Any]:
    """A part's JSON file. Raises EffaceError where it is missing or holds no object."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or line_of(error)
        raise EffaceError(f"{path}: cannot be read ({reason}), expected a part's JSON; fetch it again") from error
    if not isinstance(told, dict):
        raise EffaceError(f"{path}: found a JSON {type(told).__name__}, expected an object; fetch it again")
    return told


def filled(
    module: nn.Module, path: Path, tensors: Mapping[str, Tensor] | None = None, advice: str = "fetch both again"
) -> nn.Module:
    """The module with the weights of a file, float32; its own tensors may be on the meta device. tensors: what the file
    holds, under the module's names; None: as they stand there. Raises EffaceError, which ends in the advice, where they
    do not fit."""
    found = read(path) if tensors is None else tensors
    problem = misfit(found, module.state_dict())
    if problem:
        raise EffaceError(
            f"{path}: {problem}, expected the weights of {type(module).__name__} as its configuration describes it; "
            f"{advice}"
        )
    check_values(found, path)
    module.load_state_dict({name: tensor.float() for name, tensor in found.items()}, assign=True)
    return module


def changed_alone(weights: Path) -> bool:
    """Whether it is a file, or a folder with a `changed.safetensors` and no other weights: nothing to load by
    itself."""
    if not weights.is_dir():
        return weights.is_file()
    files = [path for path in weights.rglob("*") if path.suffix in (".safetensors", ".bin")]
    return files == [weights / CHANGED]


@torch.no_grad()
def lay_over(unet: nn.Module, path: Path) -> None:
    """Put the tensors of a `changed.safetensors`, or of the one in a folder, in the place of the original's. Raises
    EffaceError where the network has no such tensors."""
    path = path / CHANGED if path.is_dir() else path
    changed, own = read(path), unet.state_dict()
    problem = misfit(changed, {name: own[name] for name in changed if name in own})
    if problem:
        raise EffaceError(f"{path}: {problem}, expected tensors of the model that it is laid over; name that model")
    check_values(changed, path)
    for name, tensor in changed.items():
        own[name].copy_(tensor)


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to write into; it takes that name at the end of the block, and where the block fails,
    nothing is left. Raises EffaceError where the name is taken or the disk refuses."""
    partial = folder.with_name(folder.name + ".partial")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise EffaceError(f"{folder}: exists already and is not empty; choose another folder or remove it")
        if partial.exists():
            raise EffaceError(f"{partial}: found what an interrupted run left, or another writes now; remove it")
        partial.mkdir(parents=True)
        try:
            yield partial
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or line_of(error)
        raise EffaceError(f"{folder}: cannot be written ({reason}); free the disk or choose another folder") from error


def copied(source: Path, folder: Path, names: Sequence[str]) -> None:
    """Copy those of the files and folders that the source has; links become what they lead to."""
    for name in names:
        there = source / name
        for file in sorted(there.rglob("*")) if there.is_dir() else [there]:
            if file.is_file():
                new = folder / file.relative_to(source)
                new.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, new)
