"""Draw samples/photo.png: a synthetic landscape that is free of anybody's rights.

Run as `python samples/make_photo.py`. It has what a codec meets in photographs: smooth
gradients, sharp silhouettes, repeated detail, fine texture and sensor noise.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

WIDTH, HEIGHT = 384, 256
SCALE = 3  # drawn larger, then reduced, so that edges are as soft as a lens makes them

Plane = npt.NDArray[np.float64]


def octaves(rng: np.random.Generator, height: int, width: int, coarsest: int) -> Plane:
    """Fractal noise [height, width], about ±1: planes of ever smaller cells and weights."""
    total = np.zeros((height, width))
    cell, weight = coarsest, 0.5
    while cell >= 2:
        grid = rng.normal(size=(height // cell + 3, width // cell + 3)).astype(np.float32)
        plane = Image.fromarray(grid).resize(
            (grid.shape[1] * cell, grid.shape[0] * cell), Image.Resampling.BICUBIC
        )
        total += weight * np.asarray(plane, dtype=np.float64)[:height, :width]
        cell, weight = cell // 2, weight / 2
    return total


def paint(canvas: Plane, mask: Plane, colour: Plane) -> None:
    """Blend `colour` ([3] or [H, W, 3]) into `canvas` [H, W, 3] where `mask` [H, W] is one."""
    canvas += mask[..., None] * (colour - canvas)


def landscape(rng: np.random.Generator) -> Plane:
    """The scene in linear RGB, [H, W, 3] in 0..1, at SCALE times the final size."""
    height, width = HEIGHT * SCALE, WIDTH * SCALE
    y, x = np.mgrid[0:height, 0:width] / height
    horizon = 0.62

    sky = np.clip(y / horizon, 0, 1)[..., None]
    canvas = (1 - sky) * np.array([0.10, 0.22, 0.50]) + sky * np.array([0.95, 0.55, 0.30])
    sun = np.hypot(x - 1.02, y - 0.44)
    canvas += np.exp(-((sun / 0.22) ** 2))[..., None] * np.array([0.35, 0.25, 0.10])
    paint(canvas, np.clip((0.045 - sun) * 400, 0, 1), np.array([1.0, 0.95, 0.80]))
    clouds = octaves(rng, height, width, 256)
    paint(canvas, np.clip(clouds - 0.25, 0, 0.6) * (y < horizon), np.array([1.0, 0.80, 0.72]))

    for depth, (base, rise) in enumerate([(0.50, 0.09), (0.55, 0.08), (0.60, 0.06)]):
        ridge = base - rise * octaves(rng, 1, width, 256)
        rock = 0.5 + 0.35 * octaves(rng, height, width, 16)
        near = np.array([0.05, 0.10, 0.07]) * (rock[..., None] + 0.6)
        haze = np.array([0.42, 0.33, 0.38])
        fade = [0.75, 0.45, 0.10][depth]
        paint(canvas, np.clip((y - ridge) * height, 0, 1), fade * haze + (1 - fade) * near)

    water = y > 0.66
    mirror = np.clip((2 * 0.66 - y) * height + 9 * octaves(rng, height, width, 8), 0, height - 1)
    reflection = canvas[mirror.astype(int), np.broadcast_to(np.arange(width), mirror.shape)]
    paint(canvas, water * 1.0, 0.75 * reflection + np.array([0.01, 0.03, 0.06]))

    shore = 0.90 - 0.05 * octaves(rng, 1, width, 512)
    grass = 0.5 + 0.5 * octaves(rng, height // 8, width, 8).repeat(8, axis=0)
    meadow = np.array([0.16, 0.20, 0.05]) * np.clip(grass, 0.1, 1.5)[..., None]
    paint(canvas, np.clip((y - shore) * height / 6, 0, 1), meadow)

    for _ in range(14):  # firs: a stack of skirts around a trunk
        foot, size = rng.uniform(0.05, 1.4), rng.uniform(0.16, 0.42)
        ground = 0.93 + 0.05 * rng.uniform()
        up = (ground - y) / size
        skirt = 0.16 * size * (1 - up) * (0.65 + 0.35 * ((up * 9) % 1.0))
        skirt += 0.012 * octaves(rng, height, width, 8)
        fir = (np.abs(x - foot) < skirt) & (up > 0.06) & (up < 1)
        trunk = (np.abs(x - foot) < 0.012 * size) & (up >= 0) & (up < 0.2)
        shade = np.clip(0.6 + 0.4 * octaves(rng, height, width, 8), 0.1, 1.2)[..., None]
        paint(canvas, fir * 1.0, np.array([0.02, 0.06, 0.03]) * shade)
        paint(canvas, trunk * 1.0, np.array([0.09, 0.05, 0.03]))
    return np.clip(canvas, 0, 1)


def main() -> None:
    """Render, reduce, add sensor noise and write photo.png beside this file."""
    rng = np.random.default_rng(1859)
    scene = landscape(rng).reshape(HEIGHT, SCALE, WIDTH, SCALE, 3).mean(axis=(1, 3))
    scene += rng.normal(scale=0.004, size=scene.shape)
    pixels = np.clip(255 * np.clip(scene, 0, 1) ** (1 / 2.2) + 0.5, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(Path(__file__).with_name("photo.png"), optimize=True)


if __name__ == "__main__":
    main()
