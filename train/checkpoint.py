"""Checkpoints: written whole or not at all, read without unpickling code."""

from __future__ import annotations

import json
import os
import pickle
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open

from train.errors import CheckpointError

M = TypeVar("M", bound=torch.nn.Module)

# Where a file of weights alone says which run they are of, and how long it was.
CARD_KEY = "vqcodec_run"
COUNTED = ("step", "seconds", "pixels")
# In a card, and in the config of a checkpoint whose own settings do not tell: metrics.
TRAINED_FOR = "trained for"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings and containers of them) in place of `path`."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        torch.save(state, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, its tensors on `device`.

    Or the weights that `train.keep` kept of it (.safetensors). Raises CheckpointError if the file
    is missing or not a checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    if path.suffix == ".safetensors":
        return _load_kept(path, device)
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"cannot read checkpoint {path}: {reason}") from error
    if not isinstance(state, dict) or not {"model", "ema", "step", "config"} <= state.keys():
        raise CheckpointError(f"not a checkpoint of this project: {path}")
    return state


def _load_kept(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            card = json.loads((file.metadata() or {})[CARD_KEY])
            kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(f"not the weights that train.keep keeps: {path}") from error
    weights = {
        n: value.float() if value.is_floating_point() else value for n, value in kept.items()
    }
    return {**card, "model": weights, "ema": weights}


def save_start(path: Path, model: torch.nn.Module, config: Mapping[str, Any]) -> None:
    """Write a checkpoint that a run may begin with.

    `config` has what a run's has, but for its own settings: the network's sizes, "model", the runs
    behind it, "stages", and what else is known.
    """
    state = model.state_dict()
    config = {"settings": {}, **config}
    save_checkpoint(path, {"model": state, "ema": state, "step": 0, "config": config})


def stages(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the runs that led to a checkpoint, its own the last: command, commit, what it took.

    Of absolute paths in a command the last part is left: folders are a machine's own.
    """
    config = state["config"]
    own = {name: config[name] for name in ("command", "commit") if name in config}
    if "command" in own:
        own["command"] = shlex.join(map(without_folders, shlex.split(own["command"])))
    return [
        *config.get("stages", ()),
        own | {name: state[name] for name in COUNTED if name in state},
    ]


def runs_of(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the runs behind a model as its card tells them, as `stages` does.

    What they took is known of all together, and is that of the last.
    """
    runs: list[dict[str, Any]] = [{"command": command} for command in card.get("stages", ())]
    if runs and {"steps", "hours", "gigapixels"} <= set(card):
        seconds, pixels = 3600 * card["hours"], int(1e9 * card["gigapixels"])
        runs[-1] |= {"step": card["steps"], "seconds": seconds, "pixels": pixels}
    return runs


def without_folders(word: str) -> str:
    """Return the last part of an absolute path, anything else as it is."""
    return Path(word).name if Path(word).is_absolute() else word


def load_model(path: Path, build: Callable[[dict[str, Any]], M]) -> tuple[M, dict[str, Any]]:
    """Return the network of a checkpoint with its averaged weights, on the CPU, and the checkpoint.

    `build` makes the network from the config that the checkpoint holds of it. Raises
    CheckpointError as `load_checkpoint` and `load_weights` do.
    """
    state = load_checkpoint(path, torch.device("cpu"))
    model = build(state["config"]["model"])
    load_weights(model, state["ema"], path)
    return model, state


def load_weights(model: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Copy `weights` into `model`; raises CheckpointError if they are another model's."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        detail = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} holds another model: {detail}") from error
