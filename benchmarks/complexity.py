"""Count the multiply-accumulates (MAC) a pixel of encoding and decoding a 768x512 image.

    python -m benchmarks.complexity [--model NAME|PATH]

Those of the network are counted while it codes an image, those of the integer prior follow from the
shapes of its layers. They depend on the architecture alone, not on the picture or the quality.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import click
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import tables
from vqcodec import weights
from vqcodec.codec.codec import Codec
from vqcodec.entropy.layer import Layer
from vqcodec.entropy.prior import PriorNetwork
from vqcodec.entropy.schedule import phase_positions
from vqcodec.errors import ModelError
from vqcodec.weights import ModelInfo
from vqcodec.weights.store import load

SIZE = (768, 512)
QUALITY = 50


@dataclass(frozen=True, slots=True)
class Complexity:
    """Thousands of MAC a pixel; `closed_loop` is all that the encoder does after analysis."""

    analysis: float
    closed_loop: float
    synthesis: float
    prior: float


def network_macs(call: Callable[[], object]) -> int:
    """Return the MAC of the convolutions and matrix products that PyTorch does in a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    flops: int = counter.get_total_flops()
    return flops // 2


def prior_macs(prior: PriorNetwork, grids: Sequence[tuple[int, int]]) -> int:
    """Return the MAC of walking through the levels, on a grid of so many positions each scale."""

    def at_each_position(*layers: Layer) -> int:
        return sum(layer.weight.size for layer in layers)

    macs = 0
    for numbers, (height, width), upsample in zip_longest(prior.scales, grids, prior.upsample):
        macs += height * width * at_each_position(*([upsample] if upsample else []))
        for number in numbers:
            phases = prior.levels[number].phases
            for index, phase in enumerate(phases):
                coded = len(phase_positions(len(phases), index, height, width))
                updated = coded if index else height * width
                macs += updated * at_each_position(phase.update)
                macs += coded * at_each_position(phase.hidden, phase.head)
    return macs


def measure(info: ModelInfo, width: int, height: int) -> Complexity:
    """Count for an image whose sides are multiples of 64, which is padded to no other size.

    Raises ModelError if the weights cannot be loaded.
    """
    loaded = load(info)
    codec = Codec(loaded, "cpu", torch.float32)
    network = loaded.network()
    black = torch.zeros(1, 3, height, width)
    image = Image.new("RGB", (width, height))
    tokens = codec.tokenize(image, quality=QUALITY)
    thousands = 1000 * width * height

    analysis = network_macs(lambda: network.analyse(black, network.quality_weights(QUALITY)))
    encoding = network_macs(lambda: codec.tokenize(image, quality=QUALITY))
    decoding = network_macs(lambda: codec.render(tokens))
    grids = [codec.config.grid(scale, height, width) for scale in range(len(codec.config.scales))]
    prior = prior_macs(loaded.prior, grids)
    return Complexity(
        analysis / thousands,
        (encoding - analysis) / thousands,
        decoding / thousands,
        prior / thousands,
    )


def complexity_table(counted: Complexity) -> str:
    """Lay out kMAC a pixel, one column for encoding and one for decoding."""
    analysis, closed_loop, synthesis, prior = (
        f"{kmac:.1f}"
        for kmac in (counted.analysis, counted.closed_loop, counted.synthesis, counted.prior)
    )
    encoding = counted.analysis + counted.closed_loop + counted.prior
    decoding = counted.synthesis + counted.prior
    return tables.markdown(
        ["kMAC per pixel", "encoding", "decoding"],
        [
            ["analysis", analysis, ""],
            ["closed loop", closed_loop, ""],
            ["synthesis", "", synthesis],
            ["integer prior", prior, prior],
            ["together", f"{encoding:.1f}", f"{decoding:.1f}"],
        ],
    )


@click.command()
@click.option("--model", default=weights.DEFAULT, show_default=True, help="A name or a path.")
def main(model: str) -> None:
    """Print a Markdown table of the multiply-accumulates a pixel of a model."""
    try:
        info = weights.find(model)
        table = complexity_table(measure(info, *SIZE))
    except ModelError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table)
    click.echo(f"\n{info.name}, {SIZE[0]}×{SIZE[1]} pixels; table look-ups count nothing.")


if __name__ == "__main__":
    main()
