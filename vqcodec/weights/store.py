"""What is in a weights file: the network in half precision, the prior and its tables in integers.

safetensors only. `network.*` arrays are float16 parameters of `vqcodec.model.vqvae.VQVAE`;
`prior.*` and `tables.*` are integers, all that decoding a file to its indices needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from vqcodec.entropy.levels import Symbols, index_type
from vqcodec.entropy.prior import PriorNetwork
from vqcodec.entropy.tables import FrequencyTables
from vqcodec.errors import ModelError
from vqcodec.model.config import KNOTS, NATURAL_LAYERS, NATURAL_NOISE, PLANES, SPREAD, Config
from vqcodec.weights import ModelInfo

if TYPE_CHECKING:
    from vqcodec.model.natural import NaturalBlock
    from vqcodec.model.vqvae import VQVAE

CONFIG_KEY = "vqcodec_config"
NATURAL_KEY = "vqcodec_natural"
NETWORK, NATURAL, TABLES = "network.", "natural.", "tables."


@dataclass(frozen=True)
class Weights:
    """A weights file in memory. `tables` holds the frequency tables, `[level][group]`."""

    info: ModelInfo
    config: dict[str, Any]
    prior: PriorNetwork
    tables: list[list[FrequencyTables]]
    arrays: dict[str, NDArray[np.float16]]

    def sizes(self) -> Config:
        """Return the sizes of the network; raises ModelError if none of ours has them."""
        try:
            return Config.from_dict(self.config)
        except (TypeError, ValueError) as error:
            raise ModelError(f"the weights do not fit the network: {error}") from error

    @cached_property
    def natural(self) -> dict[str, NDArray[np.float16]]:
        """The arrays of the block that draws the natural look, `natural.*`.

        Raises ModelError if the model has none, or if they are damaged or of another model.
        """
        info = self.info.natural
        if not info.path.is_file():
            raise ModelError(f"{self.info.name} has no natural look")
        text, arrays = read_arrays(info, NATURAL_KEY, "a natural look")
        if text != json.dumps(self.info.model_id.hex()):
            raise ModelError(f"{info.path}: the natural look of another model, {text}")
        shapes = _natural_shapes(self.sizes(), len(arrays.get(f"{NATURAL}enter.bias", ())))
        found = {name: array.shape for name, array in arrays.items()}
        if found != shapes or not all(np.isfinite(array).all() for array in arrays.values()):
            raise ModelError(f"{info.path}: damaged weights")
        return arrays

    def natural_block(self) -> NaturalBlock:
        """Return that block in float32; raises as `natural`."""
        import torch

        from vqcodec.model.natural import NaturalBlock

        arrays = {
            name.removeprefix(NATURAL): torch.from_numpy(array)
            for name, array in self.natural.items()
        }
        with torch.random.fork_rng(devices=()):
            block = NaturalBlock(self.sizes(), len(arrays["enter.bias"]))
        block.load_state_dict(arrays, assign=True)
        return block.float().eval()

    def network(self) -> VQVAE:
        """Return the analysis and synthesis network in float32; raises ModelError if damaged."""
        import torch

        from vqcodec.model.vqvae import VQVAE

        try:
            # Not on the meta device, whose first use imports torch's compiler: half a second.
            with torch.random.fork_rng(devices=()):
                network = VQVAE(self.sizes())
            del network.prior
            parameters = {name: torch.from_numpy(array) for name, array in self.arrays.items()}
            network.load_state_dict(parameters, assign=True)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"the weights do not fit the network: {error}") from error
        return network.float()


def read_arrays(info: ModelInfo, key: str, kind: str) -> tuple[str, dict[str, NDArray[Any]]]:
    """Return the metadata under `key` and the arrays of a safetensors file.

    Raises ModelError if it is damaged, too large or, lacking the key, not the weights of `kind`.
    """
    info.model_id  # noqa: B018  (refuses what is too large)
    try:
        with safe_open(info.path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{info.path}: not a safetensors file: {error}") from error
    if key not in metadata:
        raise ModelError(f"{info.path}: not the weights of {kind}")
    return metadata[key], arrays


def load(info: ModelInfo) -> Weights:
    """Read a weights file; raises ModelError if it is damaged, too large or not one of ours."""
    text, arrays = read_arrays(info, CONFIG_KEY, "a vqcodec model")
    try:
        config = json.loads(text)
        counts = [[count for _, _, count in groups] for groups in config["groups"]]
        strides = config.get("strides", (8, 8))
        prior = PriorNetwork.from_arrays(arrays, config["phases"], strides, counts)
        tables = [
            [FrequencyTables(arrays[f"{TABLES}{number}.{group}"]) for group in range(groups)]
            for number, groups in enumerate(len(level.groups) for level in prior.levels)
        ]
        _try_out(prior, tables)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ModelError(f"{info.path}: damaged weights: {error}") from error
    network = {
        name.removeprefix(NETWORK): array
        for name, array in arrays.items()
        if name.startswith(NETWORK)
    }
    if not all(np.isfinite(array).all() for array in network.values()):
        raise ModelError(f"{info.path}: damaged weights: some are not finite")
    return Weights(info, config, prior, tables, network)


def _natural_shapes(config: Config, hidden: int) -> dict[str, tuple[int, ...]]:
    """Return what the arrays of a natural look are, of a block that is `hidden` wide."""
    channels, places = config.state_channels(-1), (config.strides[-1] // 2) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "log_gain.table": (KNOTS, 1),
        "spread.weight": (SPREAD * places, channels, 1, 1),
        "spread.bias": (SPREAD * places,),
        "enter.weight": (hidden, 4 * PLANES + SPREAD, 3, 3),
        "enter.bias": (hidden,),
    }
    last = {"out": hidden, "strength": hidden, "grain": 4 * NATURAL_NOISE}
    for name, inputs in last.items():
        shapes |= {f"{name}.weight": (4 * PLANES, inputs, 3, 3), f"{name}.bias": (4 * PLANES,)}
    for layer in range(NATURAL_LAYERS):
        shapes |= {f"mix.{layer}.weight": (hidden, hidden, 3, 3), f"mix.{layer}.bias": (hidden,)}
    for layer in range(NATURAL_LAYERS + 1):
        shapes |= {f"{kind}.{layer}.table": (KNOTS, hidden) for kind in ("scale", "shift")}
    return {NATURAL + name: shape for name, shape in shapes.items()}


def _try_out(prior: PriorNetwork, tables: list[list[FrequencyTables]]) -> None:
    """Walk the smallest grid, which fails if the shapes of prior and tables do not fit together."""

    def code(number: int, _: int, classes: Symbols) -> Symbols:
        last = []
        for table, group in zip(tables[number], classes, strict=True):
            last.append(np.full(group.shape, table.codewords - 1, index_type(table.codewords)))
            table.bits(group, last[-1])
        return last

    list(prior.walk(1, 1, 1, code))
