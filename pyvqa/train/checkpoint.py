"""Checkpoints: all of a run's state in safetensors and JSON, each file with its SHA-256.

    checkpoints/00001200/meta.json            step, ledger, numbers, and a digest of every file
                         parser.safetensors   one file per network
                         optimiser-parser.safetensors
                         counters.safetensors
    checkpoints/last                          the name of the folder to continue from

A folder appears by one rename and `last` moves afterwards by another, so that whatever moment a
process dies at, `last` names a complete checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from pyvqa.errors import CheckpointError, DataError
from pyvqa.files import atomic_folder, explain_write, read_json, sha256, write_text
from pyvqa.train.stage import State

_FORMAT = 1


def save(folder: Path, step: int, state: State, meta: Mapping[str, Any], *, keep: int) -> Path:
    """Write checkpoint `step` below `folder`, point `last` to it and prune to the newest `keep`.

    `meta` is JSON-able and comes back from `load`.

    Raises:
        DataError: the disk is full or not writable; the previous checkpoint stays as it was.
    """
    target = folder / f"{step:08d}"
    with atomic_folder(target) as temporary:
        numbers = _write_tensors(temporary, state)
        digests = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
        content = {"format": _FORMAT, "step": step, "numbers": numbers, "files": digests}
        content["meta"] = dict(meta)
        document = {"content": content, "sha256": _digest(content)}
        (temporary / "meta.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    write_text(folder / "last", f"{target.name}\n")
    prune(target, keep)
    return target


def prune(newest: Path, keep: int) -> None:
    """Delete all but the last `keep` checkpoints up to `newest`, and any that lie beyond it.

    One beyond is of a history that was given up (the user deleted a damaged checkpoint).
    """
    complete = _complete(newest.parent)
    position = complete.index(newest)
    with explain_write(newest):
        for path in complete[: max(0, position + 1 - keep)] + complete[position + 1 :]:
            # Out of the way by a rename first: half a checkpoint must never look like one.
            doomed = path.with_name(f"{path.name}.tmp-{os.getpid()}")
            os.replace(path, doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def latest(folder: Path) -> Path | None:
    """Find the checkpoint to continue from; None when there is none.

    That is the one that `last` names, or the newest one if that has been deleted by hand.
    """
    pointer = folder / "last"
    if pointer.is_file():
        named = folder / pointer.read_text("utf-8", errors="replace").strip()
        if named.parent == folder and named.is_dir():
            return named
    complete = _complete(folder)
    return complete[-1] if complete else None


def load(checkpoint: Path, state: State) -> tuple[int, dict[str, Any]]:
    """Restore `state` in place from a checkpoint; give its step and the saved `meta`.

    Raises:
        CheckpointError: a file is missing, damaged (its digest differs) or holds other tensors
            than the state has.
    """
    content = _read_meta(checkpoint)
    for name, digest in content["files"].items():
        path = checkpoint / name
        if not path.is_file() or sha256(path) != digest:
            problem = "is damaged (its SHA-256 differs)" if path.is_file() else "is missing"
            raise CheckpointError(f"{path}: {problem}; {_advice(checkpoint)}")
    numbers = content["numbers"]
    for name, network in state.networks.items():
        load_network(checkpoint / f"{name}.safetensors", network)
    for name, optimiser in state.optimisers.items():
        tensors = read_tensors(checkpoint / f"optimiser-{name}.safetensors")
        _restore_optimiser(optimiser, tensors, numbers["optimisers"].get(name), checkpoint)
    _restore_counters(state, checkpoint, numbers["counters"])
    return int(content["step"]), dict(content["meta"])


def save_network(path: Path, network: torch.nn.Module, dtype: torch.dtype | None = None) -> None:
    """Write a network's parameters and buffers as safetensors, floats cast to `dtype` if given."""
    tensors = {
        key: value.to(dtype) if dtype is not None and value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    write_tensors(path, tensors)


def load_network(path: Path, network: torch.nn.Module) -> None:
    """Fill a network from a safetensors file that must hold exactly its tensors.

    Raises:
        CheckpointError: the file cannot be read, or names or shapes differ (the first is named).
    """
    tensors, own = read_tensors(path), network.state_dict()
    for key in sorted(own.keys() | tensors.keys()):
        if key not in tensors or key not in own:
            where = "the file" if key not in tensors else "the network"
            raise CheckpointError(f"{path}: {key} is missing in {where}; is it another model's?")
        if tensors[key].shape != own[key].shape:
            raise CheckpointError(
                f"{path}: {key} has shape {list(tensors[key].shape)}, the network expects "
                f"{list(own[key].shape)}; is it another config's?"
            )
    network.load_state_dict(tensors)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors as safetensors; shared memory (tied weights) is written out in full."""
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    seen: set[int] = set()
    for key, value in plain.items():
        pointer = value.untyped_storage().data_ptr()
        if pointer in seen:
            plain[key] = value.clone()
        seen.add(pointer)
    try:
        save_file(plain, path)
    except SafetensorError as error:
        raise DataError(f"{path}: cannot be written ({error}); is the disk full?") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file onto the CPU.

    Raises:
        CheckpointError: missing, cut off or not a safetensors file.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; check the path")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


def read_torch(path: str | Path) -> Mapping[str, Any]:
    """Load a table that torch saved onto the CPU without running any code that it may hold.

    Raises:
        CheckpointError: the file is missing, damaged or holds more than tensors and numbers.
    """
    checkpoint = read_plain(path)
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(
            f"{path}: holds a {type(checkpoint).__name__}, not a table of weights"
        )
    return checkpoint


def read_plain(path: str | Path) -> Any:
    """Load what torch saved: plain containers, numbers, texts and tensors; nothing in it is run.

    Raises:
        CheckpointError: the file is missing, damaged or holds anything else.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file; check the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many unrelated types for damaged files
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as weights ({reason})") from error


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a network's named weights from a .safetensors file or one of `torch.save`.

    Raises:
        CheckpointError: the file is missing, damaged or holds no named tensors.
    """
    if Path(path).suffix == ".safetensors":
        return read_tensors(Path(path))
    found = read_torch(path)
    found = next((found[key] for key in ("state_dict", "model") if key in found), found)
    weights = {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
    if not weights:
        raise CheckpointError(f"{path}: holds no named weights; give the file of a network")
    return weights


def _write_tensors(folder: Path, state: State) -> dict[str, Any]:
    """Write all tensors of a state; give the numbers that go with them."""
    numbers: dict[str, Any] = {"optimisers": {}, "counters": {}}
    for name, network in state.networks.items():
        save_network(folder / f"{name}.safetensors", network)
    for name, optimiser in state.optimisers.items():
        tensors, numbers["optimisers"][name] = _split_optimiser(name, optimiser)
        write_tensors(folder / f"optimiser-{name}.safetensors", tensors)
    counters = {key: value for key, value in state.counters.items() if isinstance(value, Tensor)}
    write_tensors(folder / "counters.safetensors", counters)
    numbers["counters"] = {k: v for k, v in state.counters.items() if k not in counters}
    return numbers


def _split_optimiser(name: str, optimiser: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Part an optimiser's state into tensors by `<part>.<index>.<key>` and plain values."""
    saved = optimiser.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {"state": {}, "groups": {}}
    parts = {"state": saved["state"], "groups": dict(enumerate(saved["param_groups"]))}
    for part, rows in parts.items():
        for index, row in rows.items():
            plain = numbers[part][str(index)] = {}
            for key, value in row.items():
                if isinstance(value, Tensor):
                    tensors[f"{part}.{index}.{key}"] = value
                elif isinstance(value, bool | int | float | str | list | tuple | None):
                    plain[key] = value
                else:
                    raise CheckpointError(
                        f"optimiser {name} keeps {key} as {type(value).__name__}, which no "
                        "checkpoint can hold; only tensors and numbers can be saved"
                    )
    return tensors, numbers


def _restore_optimiser(
    optimiser: Optimizer,
    tensors: Mapping[str, Tensor],
    numbers: dict[str, dict[str, dict[str, Any]]] | None,
    checkpoint: Path,
) -> None:
    if numbers is None:
        raise CheckpointError(f"{checkpoint}: lacks an optimiser; is it another stage's?")
    for key, value in tensors.items():
        part, index, name = key.split(".", 2)
        numbers[part].setdefault(index, {})[name] = value
    groups = [numbers["groups"][str(index)] for index in range(len(numbers["groups"]))]
    for group, own in zip(groups, optimiser.param_groups, strict=False):
        for key, value in group.items():
            if isinstance(own.get(key), tuple):  # JSON knows lists only.
                group[key] = tuple(value)
    state = {int(index): row for index, row in numbers["state"].items()}
    try:
        optimiser.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{checkpoint}: the optimiser's parameters differ ({error}); is it another config's?"
        ) from error
    # Fused updates go through memory without looking at strides.
    for parameter, row in optimiser.state.items():
        for key, value in row.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                row[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _restore_counters(state: State, checkpoint: Path, numbers: Mapping[str, Any]) -> None:
    saved = {**read_tensors(checkpoint / "counters.safetensors"), **numbers}
    if saved.keys() != state.counters.keys():
        raise CheckpointError(
            f"{checkpoint}: has counters {sorted(saved)}, the stage has {sorted(state.counters)}; "
            "is it another stage's?"
        )
    for key, value in saved.items():
        own = state.counters[key]
        state.counters[key] = value.to(own.device) if isinstance(own, Tensor) else value


def _read_meta(checkpoint: Path) -> dict[str, Any]:
    path = checkpoint / "meta.json"
    try:
        document = read_json(path, keys=("content", "sha256"))
    except DataError as error:
        raise CheckpointError(f"{error}; {_advice(checkpoint)}") from error
    if document["sha256"] != _digest(document["content"]):
        raise CheckpointError(f"{path}: is damaged (its SHA-256 differs); {_advice(checkpoint)}")
    content: dict[str, Any] = document["content"]
    if content["format"] != _FORMAT:
        raise CheckpointError(
            f"{path}: has format {content['format']}, this version of pyvqa reads {_FORMAT}; "
            "continue with the version that wrote it"
        )
    return content


def _advice(checkpoint: Path) -> str:
    return f"delete {checkpoint} to continue from the checkpoint before it"


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _complete(folder: Path) -> list[Path]:
    """List checkpoint folders, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdigit() and path.is_dir())
