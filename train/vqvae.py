"""Train the codec: python -m train.vqvae --data PATH… --valid PATH… --out DIR --steps N

Several GPUs: torchrun --nproc-per-node N -m train.vqvae …
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from train.checkpoint import load_checkpoint, load_weights, stages
from train.data import Sampler, first_crops
from train.distortion import MEASURES, Distortion
from train.errors import TrainError
from train.loop import Trainer
from train.options import FILE, POSITIVE, SHARE, Arguments, Script, image_options, option
from train.processes import Process
from vqcodec.model.classical import ClassicalQuantizer
from vqcodec.model.config import QUALITIES, Config
from vqcodec.model.initialise import initialise
from vqcodec.model.vqvae import VQVAE

VALIDATION_QUALITIES = (10, 30, 50, 70, 90)
# At this lmbda a unit of loss is a bit per pixel.
LMBDA_UNIT = 0.005
INITIAL_CROPS = 64
# Each kind of parameter learns at a share of the learning rate. The linear transforms start near
# their optimum, where a full step is mostly noise; a codeword is seen rarely and has far to go.
RATE_SHARES = {"basis": 0.3, "project": 0.3, "unproject": 0.3, "codewords": 4.0, "logits": 4.0}


class VQVAETask:
    """Rate and distortion together, for all qualities at once.

    The loss of an image is (bpp + lmbda D) / sqrt(lmbda / 0.005): the rate–distortion cost grows
    about as sqrt(lmbda), so every quality pulls equally. Quality is uniform, so lmbda is
    log-uniform. What classical quantizers add counts as bits. D is 255² times the distortion.
    """

    def __init__(
        self, valid: Sequence[Tensor], config: Config, distortion: Distortion | None = None
    ) -> None:
        """`valid` is batches of whole images, uint8 [B, 3, H, W]; the distortion is mse if None."""
        self._valid = valid
        self._config = config
        self._distortion = distortion or Distortion({})

    def loss(self, model: nn.Module, batch: Tensor, uniform: Tensor) -> dict[str, Tensor]:
        """Return the loss and its parts for a batch of crops, uint8 [B, 3, H, W].

        `uniform` in [0, 1), float32 [B], says where between the lowest and the highest quality.
        """
        quality = 1 + (QUALITIES - 1) * uniform
        x = batch.float() / 255.0
        out = model(x, quality)
        pixels = batch.shape[-2] * batch.shape[-1]
        bpp = out.bits / pixels
        classical = (m for m in model.modules() if isinstance(m, ClassicalQuantizer))
        auxiliary = (quantizer.take_auxiliary_loss() for quantizer in classical)
        paid = torch.stack([out.bits, *auxiliary]).sum(0) / pixels
        terms = {"bpp": bpp.mean(), "mse": out.mse.mean()}
        distortion, measured = self._distortion(x, out.x_hat, out.mse)
        loss = rate_distortion(paid, distortion, self._config.lmbda(quality))
        return {"loss": loss.mean(), **terms, **measured}

    def validate(self, model: nn.Module) -> list[dict[str, float]]:
        """Return a row for each of a few qualities: means over images, and the worst loss.

        The distortion is that of 8-bit pixels, so psnr is what a decoded file would have.
        """
        rows = []
        device = next(model.parameters()).device
        for quality in VALIDATION_QUALITIES:
            points = [_measure(model, batch.to(device), quality) for batch in self._valid]
            bpp, mse = (torch.cat(images) for images in zip(*points, strict=True))
            lmbda = self._config.lmbda(torch.full_like(bpp, quality))
            loss = rate_distortion(bpp, mse, lmbda)
            rows.append(
                {
                    "quality": quality,
                    "bpp": float(bpp.mean()),
                    "psnr": float(-10.0 * mse.clamp(min=1e-10).log10().mean()),
                    "loss": float(loss.mean()),
                    "worst": float(loss.max()),
                }
            )
        return rows


def rate_distortion(bpp: Tensor, mse: Tensor, lmbda: Tensor) -> Tensor:
    """Return the normalised cost of each image: bpp, mse on [0, 1] and lmbda are [B]."""
    return (bpp + lmbda * 255.0**2 * mse) / (lmbda / LMBDA_UNIT).sqrt()


def _measure(model: nn.Module, batch: Tensor, quality: float) -> tuple[Tensor, Tensor]:
    """Return bpp [B] and mse [B] of uint8 [B, 3, H, W], one image at a time to bound memory."""
    bpp, mse = [], []
    for image in batch:
        x = image[None].float() / 255.0
        out = model(x, torch.full((1,), quality, device=batch.device))
        x_hat = (out.x_hat.float().clamp(0.0, 1.0) * 255.0).round() / 255.0
        bpp.append(out.bits.float() / (x.shape[-2] * x.shape[-1]))
        mse.append((x_hat - x).square().mean(dim=(1, 2, 3)))
    return torch.cat(bpp).cpu(), torch.cat(mse).cpu()


def parameter_groups(model: VQVAE, lr: float) -> list[dict[str, Any]]:
    """Return Adam's parameter groups; the first has the full `lr`, which is what is logged."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = RATE_SHARES.get(name.rsplit(".", 1)[-1], 1.0)
            groups.setdefault(factor, []).append(parameter)
    return [
        {"params": groups[factor], "lr": lr * factor}
        for factor in sorted(groups, key=lambda factor: factor != 1.0)
    ]


def rest_encoder(model: VQVAE) -> None:
    """Train synthesis, codewords and the prior alone, on hard indices.

    The gradient of a hard rate-distortion choice is biased for what shapes the values that are
    quantised (docs/design.md): the encoder, and the gains of the levels.
    """
    gains = (level.gain_parameters() for level in model.levels)
    for parameter in itertools.chain(model.encoder_parameters(), *gains):
        parameter.requires_grad_(False)
    for level in model.levels:
        level.codebooks.soft = False


def read_config(path: Path) -> Config:
    """Return the config of a new network from the fields in a JSON file.

    Raises TrainError if the file holds no config, or not of a network that training can start from.
    """
    try:
        config = Config.from_dict(json.loads(path.read_bytes()))
        if config.groups is not None:
            raise ValueError("training starts without codebooks, so groups are null")
        if not 0 < config.lmbda_min <= config.lmbda_max:
            raise ValueError("lmbda_min and lmbda_max are not above 0 and in order")
        if any(sum(c) > config.state_channels(s) for s, c in enumerate(config.channels)):
            raise ValueError("channels are more than a scale has coefficients")
        with torch.random.fork_rng(devices=()):
            VQVAE(config)  # what from_dict leaves unchecked fails here
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise TrainError(f"{path} is no config of a new network: {error}") from error
    return config


def initial_config(arguments: Arguments) -> tuple[Config, dict[str, Any] | None]:
    """Return the config of the network to train, and its checkpoint unless it is a new one.

    Raises CheckpointError, and TrainError for a bad --config, crops that the network would have to
    pad, and a classical quantizer that has no codebooks to work on.
    """
    config, initial = Config(), None
    if arguments.config is not None:
        config = read_config(arguments.config)
    elif arguments.init is not None:
        initial = load_checkpoint(arguments.init, torch.device("cpu"))
        config = Config.from_dict(initial["config"]["model"])
    classical = arguments.quantizer == "classical"
    if classical and config.groups is None:
        raise TrainError("--quantizer classical needs the --init of a network with codebooks")
    if arguments.crop % config.padding:
        raise TrainError(f"--crop {arguments.crop} is no multiple of {config.padding}")
    told = {
        name: getattr(arguments, name) or getattr(config, name)
        for name in ("lmbda_min", "lmbda_max", "gain_range")
    }
    return dataclasses.replace(config, classical=classical, **told), initial


def initial_model(
    config: Config,
    initial: dict[str, Any] | None,
    arguments: Arguments,
    sampler: Sampler,
    processes: int,
) -> VQVAE:
    """Return the network with the weights of --init, or fitted to the first crops.

    Raises CheckpointError if the weights do not fit.
    """
    model = VQVAE(config)
    if initial is None:
        initialise(model, first_crops(sampler, INITIAL_CROPS, processes).float() / 255)
    else:
        load_weights(model, initial["ema"], arguments.init)
    if config.groups is not None and not (arguments.train_encoder or config.classical):
        rest_encoder(model)
    return model


@click.command(cls=Script)
@image_options
@option(
    "--config",
    type=FILE,
    metavar="JSON",
    help="Fields of vqcodec.model.config.Config, for a new network of another shape.",
)
@option("--lmbda-min", type=POSITIVE, help="The network's if not given, as the next two.")
@option("--lmbda-max", type=POSITIVE)
@option("--gain-range", type=POSITIVE, help="How far the gain may follow the picture, in nats.")
@option(
    "--structure",
    type=SHARE,
    default=0.0,
    help="Share of the distortion that is 1 - MS-SSIM of luma, the rest being squared error.",
)
@option("--ssimulacra2", type=SHARE, default=0.0, help="The same of SSIMULACRA2's own sum.")
@option("--features", type=SHARE, default=0.0, help="The same of a classifier's features.")
@option(
    "--train-encoder",
    is_flag=True,
    help="With codebooks, train the encoder too, on the soft index posterior.",
)
@option(
    "--quantizer",
    type=click.Choice(["entropy", "classical"]),
    default="entropy",
    help="How codebooks assign and learn: with the rate, or as the plain VQ-VAE.",
)
def main(**options: Any) -> bool:
    """Train the codec on crops of images."""
    arguments = Arguments(**options)
    if arguments.config is not None and arguments.init is not None:
        raise click.UsageError("--config is for a new network, --init for a trained one.")
    process = Process.join(arguments.device)
    config, initial = initial_config(arguments)
    arguments.lmbda_min, arguments.lmbda_max = config.lmbda_min, config.lmbda_max
    shares = {name: vars(arguments)[name] for name in MEASURES if vars(arguments)[name]}
    sampler, valid = arguments.photographs(process, config.padding)
    torch.manual_seed(arguments.seed)
    model = initial_model(config, initial, arguments, sampler, process.world_size)
    trainer = Trainer(
        model,
        VQVAETask(valid, model.config, Distortion(shares)),
        sampler,
        torch.optim.Adam(parameter_groups(model, arguments.lr), betas=(0.9, 0.99), fused=True),
        arguments.settings(),
        arguments.out,
        process,
        {
            **arguments.run_config(dataclasses.asdict(model.config)),
            "stages": stages(initial) if initial else [],
        },
    )
    return trainer.train(resume=arguments.resume)


if __name__ == "__main__":
    main()
