"""Variable-length integers of files: unsigned LEB128 in its shortest form."""

from __future__ import annotations

from collections.abc import Callable

END = 1 << 32  # above the largest


def varint(value: int) -> bytes:
    """Return the bytes of a number below 2^32: seven bits each, lowest first."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(next_byte: Callable[[], int]) -> int | None:
    """Return the number whose bytes come one by one, or None if it is not so written."""
    value = 0
    for shift in range(0, 35, 7):
        byte = next_byte()
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return None if value >= END or (byte == 0 and shift) else value
    return None
