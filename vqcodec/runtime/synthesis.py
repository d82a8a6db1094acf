"""Codewords to pixels in onnxruntime, part by part, on the processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vqcodec.entropy.levels import Symbols
from vqcodec.entropy.schedule import phase_positions
from vqcodec.model.config import PLANES, Config
from vqcodec.runtime.graph import Array
from vqcodec.runtime.parts import Parts

_PROVIDERS = ["CPUExecutionProvider"]


class Synthesis:
    """The synthesis of a network at a quality, safe to be used by several threads.

    Each has so many `threads` to work for it, and `at_once` is how many of them may work on tiles.
    States and means are float32 `[1, C, H, W]`. A part is built when it is first needed.
    """

    def __init__(
        self,
        config: Config,
        arrays: Mapping[str, NDArray[Any]],
        quality: int,
        *,
        on_picture: bool,
        threads: int,
        at_once: int = 1,
    ) -> None:
        self.at_once = at_once
        self._config, self._arrays, self._threads = config, arrays, threads
        self._parts = Parts(config, arrays, quality, on_picture=on_picture)
        self._building = Lock()
        self._sessions: dict[tuple[str, int], onnxruntime.InferenceSession] = {}

    def start(self, height: int, width: int) -> Array:
        """Return the state before the first level, whose grid is `height` x `width`."""
        return np.zeros((1, self._config.state_channels(0), height, width), np.float32)

    def room(self, height: int, width: int) -> Array:
        """Return room for a state of the finest scale, to be written to."""
        channels = self._config.state_channels(len(self._config.scales) - 1)
        return np.empty((1, channels, height, width), np.float32)

    def enter(self, means: Array, scale: int) -> Array:
        """Return the state before the first level of a scale but the coarsest."""
        t: Array = self._run(("enter", scale), {"means": means})
        return t

    def level(self, t: Array, number: int, indices: Symbols) -> Array:
        """Return the state after level `number`, whose indices are `[codebooks, H * W]` a group."""
        height, width = t.shape[2:]
        z = self._codewords(number, indices).reshape(1, -1, height, width)
        scale = self._config.scale_of(number)
        phases = self._config.phases[scale][number - self._config.scales[scale].start]
        masks = _masks(phases, height, width) if phases > 1 else []
        named = {f"mask{phase}": mask for phase, mask in enumerate(masks)}
        after: Array = self._run(("level", number), {"t": t, "z": z, **named})
        return after

    def means(self, t: Array, scale: int) -> Array:
        """Return the means on the grid of `scale` that the state above it holds."""
        means: Array = self._run(("means", scale), {"t": t})
        return means

    def picture(self, t: Array, noise: Array | None = None) -> NDArray[np.uint8]:
        """Return the picture of a state of the finest scale, `[H, W, 3]`.

        Of noise, by blocks of 2x2 pixels, its natural look.
        """
        part, drawn = ("picture", {}) if noise is None else ("natural", {"noise": noise})
        shown: NDArray[np.uint8] = self._run((part, 0), {"t": t, **drawn})[0]
        return shown

    def picture_of_means(self, means: Array) -> NDArray[np.uint8]:
        """Return the picture, a pixel a position, whose blocks have `means` `[1, 3, H, W]`."""
        # What the transform makes of the primary colours says what colour a mean is: their planes
        # are constant, which no filter across the borders of blocks changes.
        basis = self._arrays[f"analysis.{len(self._config.scales) - 1}.basis"][:PLANES]
        seen = 4 * basis.astype(np.float32).reshape(PLANES, PLANES, -1).sum(-1)
        x = np.linalg.solve(seen, means.reshape(PLANES, -1)).reshape(means.shape[1:])
        shown = np.clip(x.transpose(1, 2, 0) + 0.5, 0, 1) * 255
        pixels: NDArray[np.uint8] = np.rint(shown).astype(np.uint8)
        return pixels

    def _codewords(self, number: int, indices: Symbols) -> Array:
        """Return the codewords that indices stand for, `[C, N]`."""
        values = []
        for group, index in enumerate(indices):
            table = self._arrays[f"levels.{number}.quantizer.groups.{group}.codewords"]
            books = np.arange(len(table))[:, None, None] if len(table) > 1 else 0
            chosen = table.astype(np.float32).transpose(0, 2, 1)  # [books, dim, size]
            dims = np.arange(chosen.shape[1])[:, None]
            values.append(chosen[books, dims, index[:, None]].reshape(-1, index.shape[1]))
        return np.concatenate(values)

    def _run(self, part: tuple[str, int], inputs: Mapping[str, Array]) -> Any:
        with self._building:  # so that threads that come at once do not build it several times
            if part not in self._sessions:
                self._sessions[part] = self._session(*part)
        given = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return self._sessions[part].run(None, given)[0]

    def _session(self, kind: str, number: int) -> onnxruntime.InferenceSession:
        make = getattr(self._parts, kind)
        model = make() if kind in ("picture", "natural") else make(number)
        _share_memory()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        # Tiles are of several shapes, for each of which a plan would hold a block of its own.
        options.enable_mem_pattern = False
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Threads that wait do not keep a processor busy: others may have work for it.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(model, options, providers=_PROVIDERS)


@cache
def _share_memory() -> None:
    """Let all sessions take their memory from one place, where each would keep its own for ever."""
    kinds = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType
    info = onnxruntime.OrtMemoryInfo("Cpu", kinds[0].ORT_ARENA_ALLOCATOR, 0, kinds[1].DEFAULT)
    # No limit, grows by as much as is asked for, and otherwise as it is by default.
    settings = onnxruntime.OrtArenaCfg(0, 1, -1, -1)
    onnxruntime.create_and_register_allocator(info, settings)


def _masks(phases: int, height: int, width: int) -> Sequence[Array]:
    """Return what is 1 at the positions of each phase and 0 elsewhere, `[1, 1, H, W]`."""
    masks = np.zeros((phases, 1, 1, height * width), np.float32)
    for phase, mask in enumerate(masks):
        mask[..., phase_positions(phases, phase, height, width)] = 1
    return list(masks.reshape(phases, 1, 1, height, width))
