"""What rate control expects of a model's files, fitted to photographs: the "forecast" of its card.

python -m train.forecast MODEL PATH… encodes some of the photographs below the paths, spread over
them all, and writes what it finds into the card beside the weights file: the bytes, dB and scores
that qualities give, by how much a sample is off, what no photograph falls short by, and what
requantising loses.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from train.options import COUNT, FILE, Script, option
from train.photographs import find_photographs, nothing_in, spread
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.fileformat.image import Pixels, Prepared, prepare
from vqcodec.rate_control.forecast import FEATURES, SQUARE, Squares, squares
from vqcodec.rate_control.sample import sample
from vqcodec.rate_control.search import Curve
from vqcodec.rate_control.targets import PSNR, SIZE, SSIMULACRA2, Quantity, coarseness

QUALITIES = (5, 20, 35, 50, 65, 80, 95)
SCORED = (1, 5, 35, 65, 95, 100)  # qualities between which SSIMULACRA2 is nearly linear
ENLARGED = 1.6
# What falls short of the forecast by so many times what any photograph does is none.
UNLIKE = 2.5
LEAST_LOSS = 0.02  # dB: a search divides by it

Expect = Callable[[Squares, Tensor], Tensor]
Example = tuple[Squares, Curve]  # of an image, and what it gave at QUALITIES


def fit(codec: Codec, photographs: Sequence[Pixels]) -> dict[str, Any]:
    """Return what is expected of a model, as rate control reads it from the model's card."""
    chosen = [_whole_squares(image) for image in photographs]
    some = chosen[:: max(1, len(chosen) // 16)]
    images = [prepare(Image.fromarray(image)) for image in chosen + enlarged(some)]
    large = [prepare(Image.fromarray(image)) for image in joined(some) + enlarged(some[::4])]
    card: dict[str, Any] = {}
    for quantity in (SIZE, PSNR):
        examples = [_example(quantity, codec, image) for image in images]
        card[quantity.name] = numbers = fitted(quantity.expect, examples)
        card[f"unlike_{quantity.name}"] = unlike(quantity, examples, numbers)
    card[SSIMULACRA2.name] = usual_scores(codec, images[: len(chosen)])
    for quantity in (SIZE, PSNR, SSIMULACRA2):
        card[f"sample_{quantity.name}"] = sample_bias(quantity, codec, large, card[quantity.name])
    card[f"requantized_{PSNR.name}"] = requantized(codec, images[: len(chosen)])
    return card


def fitted(expect: Expect, examples: Sequence[Example]) -> list[float]:
    """Return the coefficients with which squares come nearest to what they gave at QUALITIES."""
    coefficients = torch.zeros(len(FEATURES), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([coefficients], max_iter=500, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        errors = torch.stack([_errors(expect, example, coefficients) for example in examples])
        error = errors.square().mean()
        error.backward()  # type: ignore[no-untyped-call]
        return error

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return [round(value, 3) for value in coefficients.tolist()]


def unlike(quantity: Quantity, examples: Sequence[Example], numbers: Sequence[float]) -> float:
    """Return by how much a picture falls short of what is expected that is not a photograph's.

    It is no less than with a model of which nothing is known.
    """
    column = torch.tensor(numbers, dtype=torch.float64)
    errors = torch.stack([_errors(quantity.expect, example, column) for example in examples])
    most = float((errors if quantity.of_picture else -errors).max())
    return round(max(UNLIKE * most, quantity.unlike), 2)


def sample_bias(
    quantity: Quantity, codec: Codec, images: Sequence[Prepared], numbers: Sequence[object]
) -> float:
    """Return by how much more too high a forecast is for images than for their samples."""
    column = torch.tensor(numbers, dtype=torch.float64)
    biases = []
    for image in images:
        if picture := sample(image, quantity.share):
            of_image, of_sample = (
                _errors(quantity.expect, _example(quantity, codec, x), column).mean()
                for x in (image, picture)
            )
            biases.append(float(of_image - of_sample))
    return round(float(np.mean(biases or 0.0)), 3)


def usual_scores(codec: Codec, images: Sequence[Prepared]) -> list[tuple[int, float]]:
    """Return the median SSIMULACRA2 of images at some qualities."""
    scores = [reached(SSIMULACRA2, codec, image, SCORED) for image in images]
    medians = np.median(scores, axis=0)
    return [(q, round(float(value), 1)) for q, value in zip(SCORED, medians, strict=True)]


def requantized(codec: Codec, images: Sequence[Prepared]) -> tuple[float, float]:
    """Return the two numbers of `loss_of`: what errors of half the weight lose in dB."""
    found: list[tuple[float, float]] = []
    for image in images:
        measure = PSNR.measuring(codec, image)
        for quality in QUALITIES:
            whole = measure(quality, 0.0)
            if whole.can_requantize:
                found.append((coarseness(quality), whole.value - measure(quality, -1.0).value))
    return fitted_loss(found)


def fitted_loss(found: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return what some losses are at quality 100, and how they rise with the coarseness there."""
    coarse, lost = np.array(found or [(0.0, 0.0)]).T
    rise = least = 0.0
    if np.ptp(coarse):
        rise, least = map(float, np.polyfit(coarse, lost, 1))
    if rise <= 0:
        rise, least = 0.0, float(lost.mean())
    return round(max(least, LEAST_LOSS), 3), round(rise, 3)


def _example(quantity: Quantity, codec: Codec, image: Prepared) -> Example:
    of_image = squares(codec, image.pixels, image.pixels.shape[:2])
    return of_image, reached(quantity, codec, image)


def _errors(expect: Expect, example: Example, coefficients: Tensor) -> Tensor:
    """Return by how much more is expected than was given, at QUALITIES."""
    of_image, given = example
    return expect(of_image, coefficients)[torch.tensor(QUALITIES) - 1] - torch.from_numpy(given)


def reached(
    quantity: Quantity, codec: Codec, image: Prepared, qualities: Sequence[int] | None = None
) -> Curve:
    """Return what an image gives at some qualities, QUALITIES if not told otherwise."""
    measure = quantity.measuring(codec, image)
    return np.array([measure(quality, 0.0).value for quality in qualities or QUALITIES])


def joined(photographs: Sequence[Pixels], side: int = 2) -> list[Pixels]:
    """Return larger photographs, each of `side` x `side` of those given, cut to the smallest."""
    height, width = (min(image.shape[axis] for image in photographs) for axis in (0, 1))
    count = len(photographs) // side**2 * side**2
    cut = np.array([image[:height, :width] for image in photographs[:count]], np.uint8)
    grids = cut.reshape(-1, side, side, height, width, 3).swapaxes(2, 3)
    return list(grids.reshape(-1, side * height, side * width, 3))


def enlarged(photographs: Sequence[Pixels]) -> list[Pixels]:
    """Return photographs enlarged, which are smooth as many a larger one is."""
    return [
        _whole_squares(np.array(image.resize([round(ENLARGED * side) for side in image.size])))
        for image in map(Image.fromarray, photographs)
    ]


def _whole_squares(pixels: Pixels) -> Pixels:
    """Return a photograph cut so that none of it is padding, as next to nothing of a large one."""
    height, width = (side // SQUARE * SQUARE for side in pixels.shape[:2])
    return pixels[:height, :width]


@click.command(cls=Script)
@click.argument("model")
@click.argument("paths", nargs=-1, required=True, type=FILE)
@option("--images", default=64, type=COUNT)
def main(model: str, paths: tuple[Path, ...], images: int) -> None:
    """Fit what rate control expects of MODEL, a name or weights file, to photographs in PATHS."""
    info, photographs = weights.find(model), spread(find_photographs(paths), images)
    if not photographs:
        raise nothing_in(paths, images)
    forecast = fit(Codec.load(model), photographs)
    card = json.dumps({**info.card, "forecast": forecast}, indent=2)
    info.path.with_suffix(".json").write_text(card + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
