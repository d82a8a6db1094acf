"""The served comparison: what the server answers and what it refuses, and the command."""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner
from PIL import Image

from vqcodec.commands.comparison import pillow_contenders, squeeze
from vqcodec.commands.gallery import PHOTOS
from vqcodec.commands.main import cli
from vqcodec.commands.serve import MAX_UPLOAD

if TYPE_CHECKING:
    from vqcodec.codec.codec import Codec
    from vqcodec.commands.serve import Server

SECONDS = 600.0  # a busy machine is no failure


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def ask(server: Server, path: str, body: bytes | None = None) -> dict[str, Any]:
    """The JSON that answers a request; a refusal has its status, too."""
    try:
        with urlopen(Request(server.url + path, body), timeout=SECONDS) as response:
            text = response.read()
            status = response.status
    except HTTPError as error:
        with error:
            text, status = error.read(), error.code
    assert b"\n" not in text
    answer: dict[str, Any] = json.loads(text)
    return {**answer, "status": status}


def raw(server: Server, method: str, path: str, *headers: tuple[str, str]) -> tuple[int, str]:
    """Status and text of the answer to a request without any headers but those."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=SECONDS)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    assert response.getheader("Access-Control-Allow-Origin") is None
    text = response.read().decode()
    connection.close()
    return response.status, text


def picture(url: str) -> Image.Image:
    """The image in a data: URL, mode RGB."""
    kind, _, data = url.partition(";base64,")
    assert kind.startswith("data:image/")
    return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


def show(server: Server, photo: object, codec: str, quality: object) -> dict[str, Any]:
    query = urlencode({"photo": photo, "codec": codec, "quality": quality})
    return ask(server, f"picture?{query}")


# What it answers


def test_the_page_needs_nothing_but_its_server(server: Server) -> None:
    with urlopen(server.url, timeout=SECONDS) as response:
        text = response.read().decode()
        headers = response.headers
    assert re.findall(r"(?:src|href)=\"([^\"]{5})", text) == ["data:"] * 5  # icon, four pictures
    assert "//" not in re.sub(r"base64,[^\"]*|// .*", "", text)
    assert "default-src 'none'; connect-src 'self'; img-src data:;" in text
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert "Access-Control-Allow-Origin" not in headers


def test_every_codec_gets_the_bytes_of_ours(
    server: Server, codec: Codec, photo: Image.Image
) -> None:
    taken = ask(server, "photo", png(photo))
    assert (taken["width"], taken["height"], taken["notes"]) == (96, 64, ["avif left out"])
    assert picture(taken["original"]).tobytes() == photo.tobytes()

    data = codec.encode(photo, quality=100)
    ours = show(server, taken["photo"], "vqcodec", 100)
    assert ours["figures"][:3] == ["100", f"{len(data):,}", "100.0 %"]
    assert picture(ours["picture"]).tobytes() == codec.decode(data).tobytes()
    assert ours["label"].startswith(f"vqcodec, {len(data):,} bytes, ")

    (webp,) = pillow_contenders(["webp"])[0]
    expected = squeeze(webp, photo, len(data))
    assert expected is not None
    theirs = show(server, taken["photo"], "webp", 100)
    assert theirs["figures"][:2] == [f"{expected.setting:g}", f"{len(expected.data):,}"]
    assert base64.b64decode(theirs["picture"].partition(",")[2]) == expected.data


def test_what_a_codec_cannot_do_is_said(server: Server, photo: Image.Image) -> None:
    taken = ask(server, "photo", png(photo))
    answer = show(server, taken["photo"], "jpeg", 1)
    assert answer["status"] == 422
    assert re.fullmatch(r"it cannot go down to \d+ bytes", answer["error"])


@pytest.mark.parametrize(("size", "pixels"), [((96, 64), 1000), ((96, 1), 10), ((2, 300), 1)])
def test_a_large_photo_is_made_smaller_which_is_said(
    server: Server, size: tuple[int, int], pixels: int
) -> None:
    image = Image.new("RGBA", size, (200, 100, 50, 128))
    answer = ask(server, f"photo?pixels={pixels}", png(image))
    width, height = answer["width"], answer["height"]
    assert pixels / 2 < width * height <= pixels
    _, opacity, reduced = answer["notes"]
    assert opacity == "opacity left out"
    assert reduced == f"reduced from {size[0]}×{size[1]} to {width}×{height} pixels"
    assert picture(answer["original"]).size == (width, height)


def test_the_photos_that_came_last_are_kept(server: Server, photo: Image.Image) -> None:
    small = png(photo.resize((16, 16)))
    names = [ask(server, "photo", small)["photo"] for _ in range(PHOTOS)]
    assert show(server, names[0], "vqcodec", 1)["status"] == 200  # now the one asked for last
    names.append(ask(server, "photo", small)["photo"])
    statuses = [show(server, name, "vqcodec", 1)["status"] for name in names]
    assert statuses == [200, 410, *[200] * (PHOTOS - 1)]


# What it refuses


def bomb() -> bytes:
    """A PNG that says it has 60,000×60,000 pixels, and has none."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT\x35\xaf\x06\x1e"


def test_what_is_no_photo_is_refused_and_the_next_one_taken(
    server: Server, photo: Image.Image
) -> None:
    whole = png(photo)
    for data in (b"", b"no picture", whole[: len(whole) // 2], bomb(), b"%!PS\nshowpage\n"):
        answer = ask(server, "photo", data)
        assert answer.keys() == {"error", "status"}
        assert (answer["status"], bool(answer["error"])) == (422, True)
    assert ask(server, "photo", whole)["status"] == 200


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("photo=&codec=jpeg&quality=50", 400, "photo is missing"),
        ("photo=x&codec=jpeg", 400, "quality is missing"),
        ("photo=x&codec=jpeg&quality=50", 410, "this photo is no longer kept: choose it again"),
        *[
            (f"photo=x&codec=jpeg&quality={bad}", 400, "quality is a whole number of 1 to 100")
            for bad in ("0", "101", "-1", "5.5", "nan", "%EF%BC%95", "9" * 5000, "1_0", "+5")
        ],
    ],
)
def test_queries_that_make_no_sense(server: Server, query: str, status: int, reason: str) -> None:
    assert ask(server, f"picture?{query}") == {"error": reason, "status": status}


def test_a_codec_that_is_not_there(server: Server, photo: Image.Image) -> None:
    taken = ask(server, "photo", png(photo))
    answer = show(server, taken["photo"], "gif", 50)
    reason = "no codec named 'gif'; there are vqcodec, jpeg, webp"
    assert answer == {"error": reason, "status": 404}


@pytest.mark.parametrize(
    "path", ["etc/passwd", "../../etc/passwd", "page.html", "%2e%2e/", "photo"]
)
def test_no_file_is_read(server: Server, path: str) -> None:
    assert ask(server, path) == {"error": "there is nothing here", "status": 404}


def test_other_sites_are_refused(server: Server, photo: Image.Image) -> None:
    own, port = server.hosts[0], server.server_port
    for headers in (
        [],
        [("Host", "evil.example")],
        [("Host", f"evil.example:{port}")],  # a name that leads to this machine
        [("Host", "127.0.0.1")],
        [("Host", own), ("Host", "evil.example")],
        [("Host", own), ("Origin", "http://evil.example")],
        [("Host", own), ("Origin", "null")],
        [("Host", own), ("Origin", f"https://{own}")],
        [("Host", own), ("Origin", f"http://localhost:{port}")],
    ):
        for method, path in (("GET", "/"), ("POST", "/photo")):
            status, text = raw(server, method, path, *headers, ("Content-Length", "0"))
            assert (status, list(json.loads(text))) == (403, ["error"]), headers
    for host in (own, f"localhost:{port}", f"LOCALHOST:{port}"):
        status, _ = raw(server, "GET", "/", ("Host", host), ("Origin", f"http://{host.lower()}"))
        assert status == 200


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "TRACE", "NONSENSE"])
def test_other_methods_are_refused(server: Server, method: str) -> None:
    status, text = raw(server, method, "/photo", ("Host", server.hosts[0]))
    assert status == 501
    assert list(json.loads(text)) == ["error"]


def test_uploads_without_end_are_refused(server: Server) -> None:
    host = ("Host", server.hosts[0])
    for length, status in ((None, 411), ("-5", 400), ("1e3", 400), ("9" * 400, 413)):
        headers = [host] if length is None else [host, ("Content-Length", length)]
        found, text = raw(server, "POST", "/photo", *headers)
        assert (found, list(json.loads(text))) == (status, ["error"])
    answer = ask(server, "photo", bytes(MAX_UPLOAD + 1))  # which is read to its end all the same
    assert answer == {"error": f"more than {MAX_UPLOAD:,} bytes", "status": 413}


def test_an_upload_that_ends_early_is_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), SECONDS) as connection:
        head = f"POST /photo HTTP/1.1\r\nHost: {server.hosts[0]}\r\nContent-Length: 9\r\n\r\n"
        connection.sendall(head.encode() + b"123")
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b" 400 " in answer.splitlines()[0]
    assert answer.endswith(b'{"error": "the photo ends early"}')


def test_it_listens_on_the_loopback_address_only(server: Server) -> None:
    assert server.server_address[0] == "127.0.0.1"


# The command


def test_the_command_prints_its_address_and_ends_when_told_to(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "vqcodec",
        "compare",
        "--serve",
        "--port",
        "0",
        "--with",
        "jpeg",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        with urlopen(url, timeout=SECONDS) as response:
            assert b'<tr data-codec="jpeg">' in response.read()
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, rest) == (130, "")
    hint = "Open this address in a browser; Ctrl-C ends it."
    assert errors.splitlines() == [hint, "Interrupted."]
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_one_line(server: Server) -> None:
    port = str(server.server_port)
    result = CliRunner().invoke(cli, ["compare", "--serve", "--port", port])
    assert result.exit_code == 1
    reason = "Address already in use (--port 0 takes a free one)"
    assert result.stderr == f"Error: port {port}: {reason}\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--serve", "photo.png"], "--serve does not take '[IN...]'"),
        (["--serve", "-o", "page.html"], "--serve does not take '-o' / '--output'"),
        (["--serve", "--bpp", "0.5"], "--serve does not take '--bpp'"),
        (["--serve", "--force"], "--serve does not take '-f' / '--force'"),
        (["--serve", "--with", "gif"], "no codec named 'gif'"),
        (["--serve", "--port", "65536"], "65536 is not in the range"),
        (["photo.png", "--port", "80"], "--port goes with --serve"),
        (["photo.png", "--port", "0"], "--port goes with --serve"),
        ([], "Missing argument 'IN...'"),
    ],
)
def test_options_that_make_no_sense_together(arguments: list[str], reason: str) -> None:
    result = CliRunner().invoke(cli, ["compare", *arguments])
    assert result.exit_code == 2
    assert reason in result.stderr.splitlines()[-1]
