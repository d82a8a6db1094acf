"""Many images on many machines, by Ray: for a data set's `map_batches`, and a pool of actors.

    files = ray.data.read_binary_files("photos/", include_paths=True)
    coded = files.map_batches(Encoder, batch_size=16, fn_constructor_kwargs={"quality": 60},
                              compute=ray.data.ActorPoolStrategy(size=8))

Each actor loads the model once. An image that fails is a row that says why; none is lost. Takes the
extra `vqcodec[ray]`.
"""

from __future__ import annotations

import logging
import queue
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec import weights
from vqcodec.api import decode, load_codec
from vqcodec.codec.target import Target, encode_prepared
from vqcodec.commands.batch import describe
from vqcodec.fileformat.image import open_image, prepare
from vqcodec.fileformat.metadata import parse_strip

# A column each, of objects; Ray makes Arrow's or pandas' of them.
Batch = dict[str, NDArray[Any]]
Row = dict[str, Any]


class Encoder:
    """Codes the column `bytes`, files of images, to the column `vqc`.

    In place of `bytes` there are `vqc`, the bytes that `vqcodec.encode` gives, `pixels`, their
    number, `notes`, a list of what was converted or left out, and `error`, empty or why there is no
    file; `vqc` is empty then. Other columns stay.

    Arguments are those of `vqcodec.encode`, and `threads` for PyTorch. Raises what it raises for
    arguments that make no sense.
    """

    def __init__(
        self,
        *,
        tune: str | None = None,
        model: str | Path | None = None,
        strip: str = "",
        keep_profile: bool = False,
        device: str = "auto",
        threads: int = 1,
        **target: Any,
    ) -> None:
        self._target = Target(**target)
        self._unwanted = parse_strip(strip, keep_profile=keep_profile)
        self._keep_profile = keep_profile
        self._codec = load_codec(weights.choose(tune, model, self._target.psnr), device)
        _use_threads(threads)

    def __call__(self, batch: Batch) -> Batch:
        """Return a batch of coded images."""
        return _replaced(batch, self.row, ("vqc", "pixels", "notes", "error"))

    def row(self, data: bytes) -> Row:
        """Return the columns for the bytes of one image."""
        try:
            prepared = prepare(open_image(data), self._unwanted, keep_profile=self._keep_profile)
            vqc, notes = encode_prepared(self._codec, prepared, self._target)
        except Exception as error:  # as in `vqcodec encode`: the other images must not suffer
            return {"vqc": b"", "pixels": 0, "notes": [], "error": describe(error)}
        height, width = prepared.pixels.shape[:2]
        notes = prepared.notes + notes
        return {"vqc": vqc, "pixels": height * width, "notes": notes, "error": ""}


class Decoder:
    """Decodes the column `bytes`, .vqc files, to the column `image`, uint8 `[H, W, 3]`, RGB.

    In place of `bytes` there are `image`, `notes` and `error`, as for `Encoder`; the image of a
    file that fails is `[0, 0, 3]`. `scale` is that of `vqcodec.decode`; models of the package are
    loaded as files name them.
    """

    def __init__(self, *, scale: int = 1, device: str = "auto", threads: int = 1) -> None:
        self._scale, self._device = scale, device
        load_codec(weights.DEFAULT, device)
        _use_threads(threads)

    def __call__(self, batch: Batch) -> Batch:
        """Return a batch of decoded images."""
        return _replaced(batch, self.row, ("image", "notes", "error"))

    def row(self, data: bytes) -> Row:
        """Return the columns for the bytes of one file."""
        try:
            image = decode(data, scale=self._scale, device=self._device)
        except Exception as error:  # as above
            return {"image": np.zeros((0, 0, 3), np.uint8), "notes": [], "error": describe(error)}
        notes = ["alpha left out"] if image.mode.endswith("A") else []
        return {"image": np.array(image.convert("RGB")), "notes": notes, "error": ""}


class EncoderPool:
    """Actors of a Ray cluster, each an Encoder, that threads of this program hand images to.

    `address` is that of the cluster, "auto" for the one that this machine belongs to, or "local"
    for one that lives as long as this program. An actor that dies is started again, and its image
    is coded again. Raises ImportError without Ray, ConnectionError if there is no such
    cluster, or one of fewer CPUs than the actors need.
    """

    def __init__(self, address: str, actors: int, threads: int, options: dict[str, Any]) -> None:
        import ray

        self._ray = ray
        host, _, port = address.rpartition(":")
        try:
            if host and port.isdigit():  # Ray itself asks an address without a cluster for minutes
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # Ray raises RuntimeError, ValueError and ConnectionError.
            raise ConnectionError(f"no Ray cluster at {address}: {describe(error)}") from error
        room = int(ray.cluster_resources().get("CPU", 0) // threads)
        if actors > room:  # images handed to the others would wait for ever
            ray.shutdown()
            raise ConnectionError(
                f"the Ray cluster at {address} has CPUs for {room} workers, not for {actors}"
            )
        remote = ray.remote(num_cpus=threads, max_restarts=-1, max_task_retries=-1)(Encoder)
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(actors):
            self._free.put(remote.remote(threads=threads, **options))

    def row(self, data: bytes) -> Row:
        """Return what `Encoder.row` gives, of the next actor that is free."""
        actor = self._free.get()
        try:
            row: Row = self._ray.get(actor.row.remote(data))
        finally:
            self._free.put(actor)
        return row

    def close(self) -> None:
        """Leave the cluster, which ends the actors."""
        self._ray.shutdown()


def _replaced(batch: Batch, work: Callable[[bytes], Row], names: tuple[str, ...]) -> Batch:
    """Return the batch with what the work makes of `bytes`, under these names, in its place."""
    rows = [work(data) for data in batch["bytes"]]
    columns: Batch = {name: column for name, column in batch.items() if name != "bytes"}
    for name in names:
        columns[name] = np.empty(len(rows), object)
        for number, row in enumerate(rows):  # all at once, arrays of one shape would be spread
            columns[name][number] = row[name]
    return columns


def _use_threads(number: int) -> None:
    import torch

    torch.set_num_threads(number)
