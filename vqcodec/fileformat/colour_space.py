"""Colours that a file describes by a few numbers instead of a profile, and their way to sRGB.

PNG has its chunks gAMA, cHRM, sRGB and cICP, AVIF and HEIF have code points as cICP has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqcodec.fileformat.headers import code_points

Values = NDArray[np.floating]
Primaries = tuple[float, ...]  # x and y of white, red, green and blue, as in cHRM

_D65 = (0.3127, 0.3290)
_SRGB: Primaries = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
# ITU-T H.273: primaries and transfer functions by their code points; 2 is "unspecified". Screens
# show as sRGB what is for cameras of BT.709 and its kin.
_PRIMARIES: dict[int, Primaries] = {
    1: _SRGB,
    2: _SRGB,
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    7: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_SRGB_TRANSFERS = (1, 2, 6, 13, 14, 15)
_GAMMAS = {4: 1 / 2.2, 5: 1 / 2.8, 8: 1.0}
_NAMES = {16: "PQ", 18: "HLG"}
# 1/2.2 stands for the curve of sRGB; libpng takes a gamma for the same within this.
_GAMMA_TOLERANCE = 0.05
_XY_TOLERANCE = 0.002
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_PIXELS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class ColourSpace:
    """How samples stand for colours.

    gamma: samples are light to the power of it; None for the curve of sRGB. primaries: None for
    those of sRGB. source: what says so, for the user.
    """

    gamma: float | None
    primaries: Primaries | None
    source: str

    def gray_to_srgb(self, values: Values, notes: list[str]) -> Values:
        """Gray of 0..1 in sRGB, of any shape; primaries have no part in it."""
        if self.gamma is None:
            return values
        self._note(notes)
        return _curve(np.clip(values, 0, 1) ** (1 / self.gamma))

    def to_srgb(self, colour: Image.Image, notes: list[str]) -> Image.Image:
        """An image of mode L or RGB in sRGB; what was done is added to `notes`."""
        steps = np.arange(256) / 255
        if self.primaries is None or colour.mode == "L":
            if self.gamma is None:
                return colour
            table = _bytes(self.gray_to_srgb(steps, notes))
            return colour.point(table.tolist() * len(colour.getbands()))
        self._note(notes)
        light = _light(steps) if self.gamma is None else steps ** (1 / self.gamma)
        matrix = (np.linalg.inv(_to_xyz(_SRGB)) @ _to_xyz(self.primaries)).T
        pixels = np.asarray(colour)
        result = np.empty_like(pixels)
        rows = max(1, _PIXELS_AT_ONCE // colour.width)
        for top in range(0, colour.height, rows):
            part = slice(top, top + rows)
            result[part] = _bytes(_curve(np.clip(light[pixels[part]] @ matrix, 0, 1)))
        return Image.fromarray(result)

    def _note(self, notes: list[str]) -> None:
        notes.append(f"colours converted from {self.source} to sRGB")


def described(image: Image.Image, notes: list[str]) -> ColourSpace | None:
    """What an image's own description of its colours asks for, None if it has none.

    As PNG has it, code points come before a profile, and a profile and sRGB before gAMA and cHRM.
    In AVIF and HEIF a profile comes first. Code points of an image that has been loaded are not
    known.
    """
    profile = bool(image.info.get("icc_profile"))
    points = code_points(image) if image.format == "PNG" or not profile else None
    if points is not None:
        known = points.transfer in _SRGB_TRANSFERS or points.transfer in _GAMMAS
        if known and points.primaries in _PRIMARIES:
            gamma = _GAMMAS.get(points.transfer)
            return _simplified(gamma, _PRIMARIES[points.primaries], points.source)
        if not profile:
            name = _NAMES.get(points.transfer, f"H.273's {points.primaries} and {points.transfer}")
            notes.append(f"colours not converted to sRGB from {name} ({points.source})")
            return None
    if profile or "srgb" in image.info:
        return None
    gamma = image.info.get("gamma")
    primaries: Primaries | None = image.info.get("chromaticity")
    if gamma is None and primaries is None:
        return None
    source = " and ".join(["gAMA"] * (gamma is not None) + ["cHRM"] * (primaries is not None))
    try:
        with np.errstate(divide="raise", invalid="raise", over="raise"):
            return _simplified(gamma, primaries, source)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        notes.append(f"colours not converted to sRGB: {source} make no sense")
        return None


def _simplified(gamma: float | None, primaries: Primaries | None, source: str) -> ColourSpace:
    """Without what is that of sRGB, or near to it; ValueError for what no picture can have."""
    if gamma is not None:
        if not 0.01 <= gamma <= 100:
            raise ValueError("gamma")
        if abs(gamma * 2.2 - 1) < _GAMMA_TOLERANCE:
            gamma = None
    if primaries is not None:
        if np.allclose(primaries, _SRGB, rtol=0, atol=_XY_TOLERANCE):
            primaries = None
        elif not np.isfinite(np.linalg.inv(_to_xyz(primaries))).all():
            raise ValueError("primaries")
    return ColourSpace(gamma, primaries, source)


def _to_xyz(primaries: Primaries) -> NDArray[np.float64]:
    """The matrix from light in primaries to CIE XYZ under D65, `[3, 3]`."""
    xy = np.array(primaries).reshape(4, 2)
    xyz = np.column_stack([xy[:, 0], xy[:, 1], 1 - xy.sum(1)]) / xy[:, 1:]
    white, columns = xyz[0], xyz[1:].T
    matrix = columns * np.linalg.solve(columns, white)
    d65 = np.array([_D65[0], _D65[1], 1 - sum(_D65)]) / _D65[1]
    cones = _BRADFORD @ d65 / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ (cones[:, None] * _BRADFORD) @ matrix
    return adapted


def _curve(light: Values) -> Values:
    """Light of 0..1 to samples of sRGB."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _light(samples: Values) -> Values:
    return np.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)


def _bytes(values: Values) -> NDArray[np.uint8]:
    return np.rint(values * 255).astype(np.uint8)
