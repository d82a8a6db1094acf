"""What several test files share: the shipped model, a tiny one, and images made on the spot."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

import vqcodec

# Test files that run side by side share the processors, and PyTorch's threads, which wait for each
# other, would hold them up. NumPy's keep their number.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["OPENBLAS_NUM_THREADS"] = str(os.cpu_count())

if TYPE_CHECKING:
    from torch import Tensor

    from benchmarks.chromium import Chromium
    from vqcodec.codec.codec import Codec
    from vqcodec.commands.serve import Server
    from vqcodec.model.vqvae import VQVAE

# Hermetic: the same examples every time, no database on disk, no deadline on a busy machine.
settings.register_profile("vqcodec", derandomize=True, database=None, deadline=None)
settings.load_profile("vqcodec")


@pytest.fixture(scope="session")
def codec() -> Codec:
    """The shipped model on the CPU."""
    from vqcodec.codec.codec import Codec

    return Codec.load(device="cpu")


@pytest.fixture
def photo() -> Image.Image:
    """A smooth colour image with a few edges, RGB, 96x64."""
    y, x = np.mgrid[0:64, 0:96].astype(np.float64)
    red = 128 + 100 * np.sin(x / 17) * np.cos(y / 23)
    green = 40 + 1.5 * x + 0.5 * y
    blue = np.where((x - 48) ** 2 + (y - 30) ** 2 < 400, 220, 60 + y)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the package is found from there too."""
    monkeypatch.setenv("PYTHONPATH", str(Path(vqcodec.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def scenes() -> Tensor:
    """Two batches of two images with waves, edges and noise, uint8 `[2, 2, 3, 128, 192]`."""
    import torch

    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:128, 0:192].astype(np.float64)
    images = []
    for _ in range(4):
        image = rng.uniform(80, 170, (3, 1, 1)) + np.zeros((3, 128, 192))
        for length in (200, 60, 25, 12, 6, 3):
            u, v, phase = rng.uniform(-4, 4, 3)
            wave = np.sin((u * x + v * y) / length + phase)
            image += rng.uniform(-2, 2, (3, 1, 1)) * length**0.6 * np.sign(wave) * wave**2
        image += rng.normal(0, 1, (3, 128, 192)) * rng.uniform(1, 12) * (x > y)
        images.append(image)
    pixels = np.stack(images).clip(0, 255).astype(np.uint8).reshape(2, 2, 3, 128, 192)
    return torch.from_numpy(pixels)


@pytest.fixture(scope="session")
def tiny_integers(scenes: Tensor) -> VQVAE:
    """A small network with integers for codewords, as it is after a few steps of training.

    Its refinement does something, its gain follows the state, and its prior depends on what is
    decoded.
    """
    import torch

    from vqcodec.model.blocks import Block, PictureBlock
    from vqcodec.model.config import Config
    from vqcodec.model.initialise import initialise
    from vqcodec.model.level import Level
    from vqcodec.model.prior import PriorPhase
    from vqcodec.model.vqvae import VQVAE

    config = Config(
        channels=((6, 8), (4, 12)),
        phases=((2, 1), (3, 2)),
        hidden=((12, 16), (8, 16)),
        hidden_between_phases=6,
        pixel_hidden=(6, 6, 6),
        prior_width=16,
        prior_head=16,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = VQVAE(config)
        initialise(model, scenes[0].float() / 255)
        for module in model.modules():
            if isinstance(module, PriorPhase):
                module.update.weight.mul_(2)
                torch.nn.init.normal_(module.head.weight, std=0.3)
            if isinstance(module, Level):
                torch.nn.init.normal_(module.adapt.weight, std=0.02)
            if isinstance(module, Block | PictureBlock):
                torch.nn.init.normal_(module.out.weight, std=0.01)
        model.prior.upsample[0].weight.mul_(3)
    return model.eval()


@pytest.fixture(scope="session")
def tiny_model(tiny_integers: VQVAE, scenes: Tensor) -> VQVAE:
    """The small network with codebooks: of every size, and one that channels share."""
    from train.codebooks import measure_ranges, with_codebooks

    *ranges, last = measure_ranges(tiny_integers, scenes)
    return with_codebooks(tiny_integers, [*ranges, 0.4 * last]).eval()


@pytest.fixture(scope="session")
def tiny_weights(tiny_model: VQVAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as a weights file."""
    from train.export import export

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    export(tiny_model, path, {"architecture": "tiny"})
    return path


@pytest.fixture(scope="session")
def tiny_codec(tiny_weights: Path) -> Codec:
    """The small network, loaded on the CPU."""
    from vqcodec.codec.codec import Codec

    return Codec.load(tiny_weights, device="cpu")


@pytest.fixture(scope="session")
def tiny_density(scenes: Tensor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small density model, fitted to two scenes, as a weights file."""
    import torch

    from train.export_density import export
    from vqcodec.density.fitting import initialise
    from vqcodec.density.ladder import Ladder, LadderConfig

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Ladder(LadderConfig(scales=3, width=8))
        initialise(model, scenes[0])
    path = tmp_path_factory.mktemp("density") / "tiny.safetensors"
    export(model, path, {"architecture": "tiny"})
    return path


@pytest.fixture
def server(codec: Codec) -> Iterator[Server]:
    """A served comparison on a port of its own: the shipped model, JPEG and WebP."""
    from vqcodec.commands.comparison import pillow_contenders, vqcodec_contender
    from vqcodec.commands.gallery import Gallery
    from vqcodec.commands.serve import Server

    rivals, _ = pillow_contenders(["jpeg", "webp"])
    server = Server(0)
    server.open(Gallery(vqcodec_contender(codec), rivals, ["avif left out"]))
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def node() -> str:
    """The program node, the decoder for browsers being built; the test is skipped without them."""
    from in_node import built

    return built()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A headless browser; the test is skipped where there is none."""
    program = shutil.which("chromium")
    if program is None or sys.platform == "win32":
        pytest.skip("no program called chromium (a package of Debian) to show pages in")
    from benchmarks.chromium import Chromium

    chromium = Chromium(program, tmp_path_factory.mktemp("chromium"))
    yield chromium
    chromium.close()
