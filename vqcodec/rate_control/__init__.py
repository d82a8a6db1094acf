"""Rate control: a file of a size, or a picture of a quality, that was asked for."""

from vqcodec.rate_control.targets import encode_to_psnr, encode_to_size, encode_to_ssimulacra2

__all__ = ["encode_to_psnr", "encode_to_size", "encode_to_ssimulacra2"]
