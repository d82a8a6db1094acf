"""Cases from the field: children that are forked after the codec has worked in the parent."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from PIL import Image

pytestmark = [
    pytest.mark.usefixtures("workplace"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without forks"),
]

# Two threads, or there is no pool for a child to miss; large enough for PyTorch to use both.
BEGIN = """
import multiprocessing, os, sys, threading, warnings
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
import vqcodec

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork among threads, which is the point
image = Image.open("photo.png")
image.load()
fork = multiprocessing.get_context("fork")

def apart(one, other):
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(other)).max())
"""


def in_parent(program: str, photo: Image.Image) -> list[str]:
    """Run a program of its own, and return the lines that it prints; a hang is a failure."""
    photo.resize((400, 300)).save("photo.png")
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        env=os.environ | {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        timeout=600,  # long enough for a busy machine
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_p1_children_decode_and_encode_after_the_parent_has(photo: Image.Image) -> None:
    program = """
data = vqcodec.encode(image, quality=50)
picture = vqcodec.decode(data)
with fork.Pool(2) as pool:
    # Sums of floating-point numbers over one thread and over two may differ in the last bits.
    print(max(apart(picture, copy) for copy in pool.map(vqcodec.decode, [data] * 4)) <= 1)
    print(pool.map(vqcodec.info, pool.map(vqcodec.encode, [image] * 2))[0].sound)
"""
    assert in_parent(program, photo) == ["True", "True"]


def test_p1_a_child_has_one_thread_and_its_parent_as_many_as_before(photo: Image.Image) -> None:
    program = """
data = vqcodec.encode(image, quality=50)
import torch
def threads(_):
    with ThreadPoolExecutor(1) as pool:
        pool.submit(vqcodec.decode, data).result()
        return torch.get_num_threads(), pool.submit(torch.get_num_threads).result()
with fork.Pool(1) as pool:
    print(pool.map(threads, [0]), torch.get_num_threads())
"""
    assert in_parent(program, photo) == ["[(1, 1)] 2"]


def test_p1_a_child_may_be_the_first_to_load_a_model(photo: Image.Image) -> None:
    """Its parent has used PyTorch for something else."""
    program = """
import torch
torch.rand(1 << 22).sin().sum()
with fork.Pool(1) as pool:
    data = pool.map(vqcodec.encode, [image])[0]
    print(pool.map(vqcodec.decode, [data])[0].size)
"""
    assert in_parent(program, photo) == ["(400, 300)"]


def test_p1_a_child_that_uses_no_codec_keeps_its_threads(photo: Image.Image) -> None:
    program = """
import torch
def threads(_):
    return torch.get_num_threads()
with fork.Pool(1) as pool:
    print(pool.map(threads, [0]))
"""
    assert in_parent(program, photo) == ["[2]"]


def test_p1_locks_that_are_held_at_the_fork_are_free_in_the_child(photo: Image.Image) -> None:
    """Threads of the parent code all the time while it forks."""
    program = """
data = vqcodec.encode(image, quality=50)
from vqcodec import api
from vqcodec.entropy.threads import one_blas_thread
with one_blas_thread, one_blas_thread._lock, api._loading:
    child = os.fork()
    if child == 0:
        os._exit(vqcodec.decode(data).size != (400, 300))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert in_parent(program, photo) == ["0"]


def test_p1_images_are_opened_in_children_by_the_plugin(photo: Image.Image) -> None:
    program = """
vqcodec.register()
image.save("photo.vqc")
Image.open("photo.vqc").load()
def load(name):
    with Image.open(name) as opened:
        return opened.convert("RGB").size
with fork.Pool(2) as pool:
    print(set(pool.map(load, ["photo.vqc"] * 4)))
"""
    assert in_parent(program, photo) == ["{(400, 300)}"]
