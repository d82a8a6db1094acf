"""A density model's weights file: safetensors, float16 parameters of `vqcodec.density.ladder`."""

from __future__ import annotations

import json

import torch

from vqcodec.density.ladder import Ladder, LadderConfig
from vqcodec.errors import ModelError
from vqcodec.forks import keep_torch_to_one_thread
from vqcodec.weights import ModelInfo
from vqcodec.weights.store import read_arrays

CONFIG_KEY = "vqcodec_density_config"
# Bounds on what a config may ask for, before the network it describes is laid out.
_MOST = LadderConfig(scales=8, width=256, blocks=4, components=8)


def load(info: ModelInfo) -> Ladder:
    """Return a density model in float32, ready to evaluate.

    Raises ModelError for a file that is damaged, too large or not a density model's.
    """
    keep_torch_to_one_thread()
    text, arrays = read_arrays(info, CONFIG_KEY, "a density model")
    try:
        config = LadderConfig(**json.loads(text))
        for name, value in vars(config).items():
            if not 1 <= value <= getattr(_MOST, name):
                raise ValueError(f"{name} is {value}")
        with torch.random.fork_rng(devices=()):
            model = Ladder(config)
        parameters = {name: torch.from_numpy(array) for name, array in arrays.items()}
        model.load_state_dict(parameters, assign=True)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{info.path}: damaged weights: {reason}") from error
    # Channels last, as in training: of 64 channels, convolutions take half the time.
    ready: Ladder = model.float().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ready.eval().requires_grad_(False)
