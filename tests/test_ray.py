"""Images by Ray: the rows of a batch, and a local cluster that loses a worker in the middle."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from program import program

import vqcodec
from vqcodec.ray import Decoder, Encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("workplace")
# Ray's workers give way to everything else by default, and would wait for ever on a busy machine.
VARIABLES = {"RAY_worker_niceness": "0", "RAY_DEDUP_LOGS": "0"}


def column(*items: Any) -> NDArray[Any]:
    array = np.empty(len(items), object)
    array[:] = items
    return array


def test_a_batch_is_files_of_the_library_and_reasons(photo: Image.Image) -> None:
    photo.save("a.png")
    photo.convert("P").save("b.png")
    data = [Path(name).read_bytes() for name in ("a.png", "b.png")]
    batch = {"bytes": column(data[0], b"broken", data[1]), "path": np.array(["a", "x", "b"])}
    coded = Encoder(quality=30, tune="psnr")(batch)
    assert coded.keys() == {"path", "vqc", "pixels", "notes", "error"}
    assert coded["path"].tolist() == ["a", "x", "b"]
    assert coded["vqc"][0] == vqcodec.encode(photo, quality=30, tune="psnr")
    assert coded["error"].tolist() == ["", "not an image that Pillow can read", ""]
    assert coded["vqc"][1] == b""
    assert coded["notes"].tolist() == [[], [], ["palette expanded to 8 bits a channel"]]
    decoded = Decoder()({"bytes": coded["vqc"]})
    assert decoded["error"].tolist() == ["", "the file is empty", ""]
    assert decoded["image"][1].shape == (0, 0, 3)
    assert np.array_equal(decoded["image"][0], np.asarray(vqcodec.decode(coded["vqc"][0])))


def test_what_a_decoder_leaves_out(photo: Image.Image) -> None:
    photo.putalpha(photo.convert("L"))
    row = Decoder(scale=8).row(vqcodec.encode(photo))
    assert (row["image"].shape, row["notes"]) == ((8, 12, 3), ["alpha left out"])


def test_arguments_that_make_no_sense_are_told_before_any_image() -> None:
    with pytest.raises(ValueError, match="quality 101"):
        Encoder(quality=101)
    with pytest.raises(TypeError):
        Encoder(qualty=10)
    with pytest.raises(ValueError, match="cannot tune"):
        Encoder(tune="speed")


# The worker kills itself once, as the system does when memory is short.
CLUSTER = """
import json, os, signal
import ray, ray.data
from ray.data import ActorPoolStrategy
from vqcodec.ray import Decoder, Encoder

class Mortal(Encoder):
    def __call__(self, batch):
        if not os.path.exists(MARKER) and any(path.endswith("17.png") for path in batch["path"]):
            open(MARKER, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch)

MARKER = os.path.abspath("killed")
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
files = ray.data.read_binary_files("in", include_paths=True)
coded = files.map_batches(
    Mortal, batch_size=8, fn_constructor_kwargs={"quality": 40}, compute=ActorPoolStrategy(size=1)
).materialize()
rows = coded.take_all()
files = coded.select_columns(["vqc", "path"]).rename_columns({"vqc": "bytes"})
back = files.map_batches(Decoder, batch_size=64, compute=ActorPoolStrategy(size=1)).take_all()
shapes = {row["path"]: row["image"].shape for row in back}
result = {
    os.path.basename(row["path"]): (row["vqc"].hex(), row["error"], shapes[row["path"]])
    for row in rows
}
json.dump([len(rows), os.path.exists(MARKER), result], open("result.json", "w"))
"""


def need_ray() -> None:
    pytest.importorskip("ray", reason="takes vqcodec[ray]")


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_loses_nothing(photo: Image.Image) -> None:
    need_ray()
    Path("in").mkdir()
    pictures = {f"{n}.png": photo.crop((n, n // 2, n + 24 + n % 5, n // 2 + 16)) for n in range(40)}
    for name, picture in pictures.items():
        picture.save(f"in/{name}")
    for number in range(3):
        Path(f"in/broken{number}.png").write_bytes(b"x" * number)
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER], env=os.environ | VARIABLES, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    count, killed, rows = json.loads(Path("result.json").read_text())
    assert (count, len(rows), killed) == (43, 43, True)
    for name, (data, error, shape) in rows.items():
        if name.startswith("broken"):
            assert (data, error, shape) == ("", "not an image that Pillow can read", [0, 0, 3])
        else:
            picture = pictures[name]
            assert bytes.fromhex(data) == vqcodec.encode(picture, quality=40, device="cpu")
            assert (error, shape) == ("", [picture.height, picture.width, 3])


@pytest.mark.slow
def test_the_command_line_hands_images_to_a_cluster(photo: Image.Image) -> None:
    need_ray()
    Path("in/sub").mkdir(parents=True)
    photo.save("in/a.png")
    photo.crop((0, 0, 30, 20)).save("in/sub/b.png")
    Path("in/c.png").write_bytes(b"broken")
    code, _, err = program(
        "", "encode", "--ray", "local", "-q", "40", "in", "-o", "out", **VARIABLES
    )
    assert code == 1
    problem, summary = err.splitlines()
    assert problem == "in/c.png: not an image that Pillow can read"
    assert summary.startswith("2 files, 1 failed: ")
    for name in ("a", "sub/b"):
        coded = vqcodec.encode(Image.open(f"in/{name}.png"), quality=40)
        assert Path(f"out/{name}.vqc").read_bytes() == coded


@pytest.mark.slow
def test_a_cluster_that_there_is_none_of(photo: Image.Image) -> None:
    need_ray()
    photo.save("a.png")
    code, _, err = program("", "encode", "--ray", "127.0.0.1:9", "a.png")
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("Error: no Ray cluster at 127.0.0.1:9: ")
    code, _, err = program("", "encode", "--ray", "local", "-j", "1000", "a.png")
    assert code == 1
    (line,) = err.splitlines()
    assert re.fullmatch(
        r"Error: the Ray cluster at local has CPUs for \d+ workers, not for 1000", line
    )
    assert not Path("a.vqc").exists()
