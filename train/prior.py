"""Train the prior of a codec at rest: python -m train.prior --init CHECKPOINT …

    --data PATH… --valid PATH… --out DIR --steps N

CHECKPOINT has codebooks (`train.codebooks`). Its network stays as it is, and so do its pictures;
the prior and its tables learn what files hold. A pool of batches is coded once, and then seen again
and again, which takes half the time.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from threading import Lock
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from train.checkpoint import TRAINED_FOR, load_model, stages
from train.codebooks import watching
from train.data import Sampler
from train.errors import CheckpointError
from train.export import trained_for
from train.loop import Trainer
from train.options import COUNT, POSITIVE, Arguments, Script, image_options, option
from train.processes import Process
from vqcodec.model.config import QUALITIES
from vqcodec.model.layers import columns_of
from vqcodec.model.quantizer import CodebookQuantizer
from vqcodec.model.vqvae import VQVAE

VALIDATION_QUALITIES = (5, 10, 30, 60, 90)
# One batch in so many is seen at a fraction of its size: files of a few hundred bytes hold so much.
THUMBNAILS, SHRUNK = 4, 4
# What an image takes beside its symbols: a file of nothing is no reason for a loss without bounds.
FEW_BITS = 64.0


class KnownCodes(VQVAE):
    """A codec of which the prior and its tables alone train, on indices that were chosen before."""

    def rest(self) -> KnownCodes:
        """Let nothing else train; returns itself. Raises ModelError if there are no codebooks."""
        self.requires_grad_(False)
        for parameter in (*self.prior.parameters(), *self.tables()):
            parameter.requires_grad_(True)
        return self

    def tables(self) -> list[nn.Parameter]:
        """Return the tables of all codebooks."""
        return [books.logits for level in self.levels for books in level.codebooks.groups]

    @torch.no_grad()
    def chosen(self, x: Tensor, quality: Tensor) -> Tensor:
        """Return the indices of `x` `[B, 3, H, W]`, after their qualities, for :meth:`forward`.

        int16 `[B, planes, H, W]`: a row of all of them, phase by phase, and zeros at its end.
        """
        rows = [quality[:, None].round()]

        def note(module: nn.Module, inputs: tuple[Tensor, ...], _: object) -> None:
            assert isinstance(module, CodebookQuantizer)
            indices = module.indices(*inputs)
            rows.append(
                torch.cat(indices).view(module.symbols, len(x), -1).movedim(0, 2).flatten(1)
            )

        with watching(self, note):
            self.coded(x, quality)
        flat = torch.cat(rows, 1).to(torch.int16)
        area = x.shape[2] * x.shape[3]
        return functional.pad(flat, (0, -flat.shape[1] % area)).view(len(x), -1, *x.shape[2:])

    def forward(self, codes: Tensor) -> Tensor:  # type: ignore[override]
        """Return the bits of each phase, `[B, phases]`, of what :meth:`chosen` returned."""
        flat = codes.flatten(1)
        quality, place = flat[:, 0].float(), 1
        bits: list[Tensor] = []

        def known(_: int, number: int, index: int, log_scale: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal place
            level = self.levels[number]
            quantizer, positions = level.codebooks, level.positions(index, log_scale)
            size = len(positions) * quantizer.symbols
            columns = flat[:, place : place + size].long().view(len(flat), -1, quantizer.symbols)
            place += size
            indices = quantizer.split_symbols(columns)
            bits.append(quantizer.bits_of(indices, columns_of(log_scale, positions)))
            return positions, quantizer.lookup(indices, len(flat))

        height, width = self.config.grid(0, *codes.shape[2:])
        self.prior.walk(quality, height, width, known)
        return torch.stack(bits, 1)


class CodedCrops:
    """Batches of another sampler as a codec has them, of which the first ones come again."""

    def __init__(self, sampler: Sampler, codec: KnownCodes, pool: int, seed: int) -> None:
        self._sampler, self._codec, self._pool, self._seed = sampler, codec, pool, seed
        self._coded: dict[tuple[int, int], Tensor] = {}
        self._coding = Lock()

    def batch(self, step: int, rank: int) -> Tensor:
        """Return what :meth:`KnownCodes.chosen` does of crops, some of them shrunk."""
        place = step % self._pool
        with self._coding:
            if (place, rank) not in self._coded:
                self._coded[place, rank] = self._code(place, rank)
            return self._coded[place, rank]

    def _code(self, place: int, rank: int) -> Tensor:
        x = self._sampler.batch(place, rank).float() / 255
        if place % THUMBNAILS == 0:
            x = functional.avg_pool2d(x, SHRUNK)
        rng = np.random.default_rng((self._seed, place, rank))
        quality = rng.integers(1, QUALITIES + 1, len(x)).astype(np.float32)
        return self._codec.chosen(x, torch.from_numpy(quality))


class PriorTask:
    """The logarithm of an image's bits: a percent of a small file counts like one of a large."""

    def __init__(self, valid: Sequence[tuple[int, Tensor]]) -> None:
        """`valid` is qualities and what was chosen at them."""
        self._valid = valid

    def loss(self, model: nn.Module, batch: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """Return the loss, and bits a pixel, of a batch of chosen indices."""
        return _terms(model, batch)

    def validate(self, model: nn.Module) -> list[dict[str, float]]:
        """Return a row for each quality: the loss, and bits a pixel."""
        rows = []
        device = next(model.parameters()).device
        for quality in VALIDATION_QUALITIES:
            terms = [_terms(model, codes.to(device)) for at, codes in self._valid if at == quality]
            means = {name: float(torch.stack([t[name] for t in terms]).mean()) for name in terms[0]}
            rows.append({"quality": quality, **means})
        return rows


def _terms(model: nn.Module, codes: Tensor) -> dict[str, Tensor]:
    bits: Tensor = model(codes).sum(1)
    area = codes.shape[2] * codes.shape[3]
    return {"loss": (bits + FEW_BITS).log().mean(), "bpp": bits.mean() / area}


@click.command(cls=Script)
@image_options
@option("--pool", type=COUNT, default=400, help="Batches that are coded, in 8 bytes a pixel.")
@option("--table-lr", type=POSITIVE, default=1e-2, help="Peak learning rate of the tables.")
def main(**options: Any) -> bool:
    """Train the prior of a codec with codebooks on crops of images."""
    arguments = Arguments(**options)
    if arguments.init is None:
        raise click.UsageError("--init is missing: a checkpoint with codebooks")
    process = Process.join(arguments.device)
    codec, state = load_model(arguments.init, KnownCodes.from_dict)
    if codec.config.groups is None:
        raise CheckpointError(f"{arguments.init} has no codebooks yet: run train.codebooks first")
    sampler, valid = arguments.photographs(process, codec.config.padding)
    model = copy.deepcopy(codec).rest()
    codec.eval()
    coded = [
        (quality, codec.chosen(images.float() / 255, torch.full((len(images),), float(quality))))
        for quality in VALIDATION_QUALITIES
        for images in valid
    ]
    groups = [
        {"params": list(model.prior.parameters()), "lr": arguments.lr},
        {"params": model.tables(), "lr": arguments.table_lr},
    ]
    trainer = Trainer(
        model,
        PriorTask(coded),
        CodedCrops(sampler, codec, arguments.pool, arguments.seed),
        torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True),
        arguments.settings(),
        arguments.out,
        process,
        {
            **arguments.run_config(dataclasses.asdict(codec.config)),
            "stages": stages(state),
            TRAINED_FOR: trained_for(state["config"]),
        },
    )
    return trainer.train(resume=arguments.resume)


if __name__ == "__main__":
    main()
