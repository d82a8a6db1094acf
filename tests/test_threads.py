"""One loaded codec serves several threads at a time, and gives what it gives one after another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from vqcodec.codec.codec import Codec
from vqcodec.codec.profiler import Profiler


def images(photo: Image.Image) -> list[tuple[Image.Image, int]]:
    sizes = [(96, 64), (40, 64), (90, 17), (64, 60)]
    return [(photo.crop((0, 0, *size)), quality) for size in sizes for quality in (20, 55, 90)]


def test_threads_share_a_codec(tiny_codec: Codec, photo: Image.Image) -> None:
    jobs = images(photo)

    def work(job: tuple[Image.Image, int]) -> tuple[bytes, bytes, bytes]:
        image, quality = job
        encoded = tiny_codec.encode_pixels(np.array(image), quality, with_picture=True)
        data = tiny_codec.encode(image, quality=quality)
        return data, tiny_codec.decode(data).tobytes(), encoded.requantize(2.0).stream

    before = dict(vars(tiny_codec))
    alone = [work(job) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, jobs * 3)) == alone * 3
    assert {name: id(value) for name, value in vars(tiny_codec).items()} == {
        name: id(value) for name, value in before.items()
    }


def test_requantizing_is_relative_to_the_plain_encode(
    tiny_codec: Codec, photo: Image.Image
) -> None:
    plain = tiny_codec.encode_pixels(np.array(photo), 60, with_picture=True)
    finer = plain.requantize(4.0)
    assert len(finer.stream) > len(plain.stream)
    assert finer.requantize(1.0).stream == plain.stream
    assert finer.requantize(4.0).stream == plain.requantize(4.0).stream == finer.stream


def test_a_profiler_is_told_where_the_time_goes(tiny_codec: Codec, photo: Image.Image) -> None:
    profiler = Profiler()
    data = tiny_codec.encode(photo, quality=50, profiler=profiler)
    assert set(profiler.seconds) == {"analysis", "quantize", "entropy"}
    tiny_codec.decode(data, profiler=profiler)
    assert set(profiler.seconds) == {"analysis", "quantize", "entropy", "synthesis"}
    assert all(seconds > 0 for seconds in profiler.seconds.values())
