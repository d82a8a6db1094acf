"""Colours as PNG describes them without a profile: its chunks gAMA, cHRM, sRGB and cICP."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Values = NDArray[np.floating]
Primaries = tuple[float, ...]  # x and y of white, red, green and blue, as in cHRM

_SIGNATURE_SIZE = 8
_D65 = (0.3127, 0.3290)
_SRGB: Primaries = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
# ITU-T H.273: primaries and transfer functions by their code points in cICP. That of BT.709 and its
# kin is for cameras; screens show it as sRGB.
_PRIMARIES: dict[int, Primaries] = {
    1: _SRGB,
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_GAMMAS: dict[int, float | None] = {1: None, 4: 1 / 2.2, 5: 1 / 2.8, 6: None, 8: 1.0, 13: None}
_GAMMAS |= {14: None, 15: None}
_TRANSFER_NAMES = {16: "PQ", 18: "HLG"}
# 1/2.2 stands for the curve of sRGB; libpng takes a gamma for the same within this.
_GAMMA_TOLERANCE = 0.05
_XY_TOLERANCE = 0.002
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
_PIXELS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class PngColour:
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


def described(image: Image.Image, notes: list[str]) -> PngColour | None:
    """What an image's own description of its colours asks for, None if it has none.

    As PNG has it, cICP comes before a profile, and a profile and sRGB before gAMA and cHRM. The
    first stands in the file alone: of an image that has been loaded it is not known.
    """
    cicp = _cicp(image)
    if cicp is not None:
        space, transfer, *encoding = cicp
        if space in _PRIMARIES and transfer in _GAMMAS and encoding == [0, 1]:
            return _simplified(_GAMMAS[transfer], _PRIMARIES[space], "cICP")
        if "icc_profile" not in image.info:
            name = _TRANSFER_NAMES.get(transfer, f"transfer function {transfer}")
            notes.append(f"colours not converted to sRGB from cICP of {name}")
            return None
    if image.info.get("icc_profile") or "srgb" in image.info:
        return None
    gamma: float | None = image.info.get("gamma")
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


def _simplified(gamma: float | None, primaries: Primaries | None, source: str) -> PngColour:
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
    return PngColour(gamma, primaries, source)


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


def _cicp(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The four numbers of the chunk cICP, which Pillow passes over."""
    fp = getattr(image, "fp", None)
    if image.format != "PNG" or fp is None:
        return None
    place = fp.tell()
    try:
        fp.seek(_SIGNATURE_SIZE)
        while len(head := fp.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind == b"IDAT":
                return None
            if kind == b"cICP" and len(data := fp.read(4)) == 4:
                return data[0], data[1], data[2], data[3]
            fp.seek(size + 4, 1)
        return None
    finally:
        fp.seek(place)
