"""`vqcodec compare --serve`: a page that one drops photographs on, and the server behind it.

The server is for the browsers of this machine: it listens on the loopback address, answers no page
but its own, and reads no file; a photograph comes as the body of a request and stays in memory. All
work on pictures is done by one thread, one request after the other.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTP_PORT
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlsplit

import click
from click.core import ParameterSource

from vqcodec.api import load_codec
from vqcodec.commands.batch import describe
from vqcodec.commands.comparison import FIGURES, VERSIONS, Contender, vqcodec_contender
from vqcodec.commands.gallery import Answer, Gallery, Refused
from vqcodec.commands.page import live_page
from vqcodec.commands.terminal import answer
from vqcodec.errors import VqcError
from vqcodec.fileformat.container import MAX_PIXELS

if TYPE_CHECKING:
    from pathlib import Path

MAX_UPLOAD = 64 << 20  # bytes
_ADDRESS = "127.0.0.1"
_SECONDS = 60  # of silence, after which a browser is given up
_OPTIONS = {"serve", "port", "rivals", "model", "device"}
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_Result = TypeVar("_Result")


class Server(ThreadingHTTPServer):
    """Serves the page and the gallery to browsers of this machine; `url` is where."""

    def __init__(self, port: int) -> None:
        self._worker = ThreadPoolExecutor(1)  # first: a port that is taken closes the server
        super().__init__((_ADDRESS, port), _Handler)
        suffix = "" if self.server_port == HTTP_PORT else f":{self.server_port}"
        self.hosts = [f"{_ADDRESS}{suffix}", f"localhost{suffix}"]
        self.url = f"http://{self.hosts[0]}/"

    def open(self, gallery: Gallery) -> None:
        """Show this gallery from now on."""
        self.gallery = gallery
        lead = f"What codecs make of your photograph in equally many bytes: {VERSIONS}. "
        lead += "It is sent to the program on this machine that shows this page, and nowhere else."
        title = "Your photo through codecs"
        page = live_page(title, lead, gallery.names, FIGURES, max_upload=MAX_UPLOAD)
        self.page = page.encode()

    def work(self, function: Callable[..., _Result], *arguments: object) -> _Result:
        """Return what the one thread for pictures makes of it when its turn comes."""
        return self._worker.submit(function, *arguments).result()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say in a line what went wrong with a connection, unless it is that the browser left."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, ConnectionError):
            click.echo(describe(error), err=True)

    def server_close(self) -> None:
        """Close, after the picture that is at work."""
        super().server_close()
        self._worker.shutdown(cancel_futures=True)


class _Handler(BaseHTTPRequestHandler):
    """One request; what cannot be answered is refused by a line of JSON with the reason."""

    server: Server
    server_version, sys_version = "vqcodec", ""
    timeout = _SECONDS

    def do_GET(self) -> None:
        """Answer with the page, or with a picture as JSON."""
        self._respond(self._get)

    def do_POST(self) -> None:
        """Take a photograph, and answer with JSON."""
        self._respond(self._post)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of every single request."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send a line of JSON for what the base class finds wrong, too."""
        reason = " ".join((message or HTTPStatus(code).phrase).split())
        self._send(code, "application/json", json.dumps({"error": reason}).encode())

    def _respond(self, route: Callable[[], tuple[str, bytes]]) -> None:
        try:
            self._check_sender()
            self._send(HTTPStatus.OK, *route())
        except Refused as error:
            self.send_error(error.status, str(error))
            self._discard()
        except VqcError as error:
            self.send_error(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except ConnectionError:
            raise
        except TimeoutError:
            self.send_error(HTTPStatus.REQUEST_TIMEOUT, "the photo did not arrive")
        except Exception as error:  # As in `batch`: one request must not end the others.
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, describe(error))

    def _check_sender(self) -> None:
        """Refuse what no page of ours sends: other pages may not even make this machine work.

        A name of theirs that leads here (DNS rebinding) is not among our hosts.
        """
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.server.hosts:
            raise Refused(HTTPStatus.FORBIDDEN, f"this page is at {self.server.url}")
        for origin in self.headers.get_all("Origin", []):
            if origin != f"http://{hosts[0].lower()}":
                raise Refused(HTTPStatus.FORBIDDEN, "asked by another page than its own")

    def _get(self) -> tuple[str, bytes]:
        url = urlsplit(self.path)
        if url.path == "/":
            return "text/html; charset=utf-8", self.server.page
        if url.path != "/picture":
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        query = dict(parse_qsl(url.query))
        for name in ("photo", "codec", "quality"):
            if name not in query:
                raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is missing")
        quality = _whole("quality", query["quality"], 100)
        show = self.server.gallery.show
        return _json(self.server.work(show, query["photo"], query["codec"], quality))

    def _post(self) -> tuple[str, bytes]:
        url = urlsplit(self.path)
        if url.path != "/photo":
            raise Refused(HTTPStatus.NOT_FOUND, "there is nothing here")
        query = dict(parse_qsl(url.query))
        pixels = _whole("pixels", query.get("pixels", str(MAX_PIXELS)), MAX_PIXELS)
        length = self.headers.get("Content-Length")
        if length is None:
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "a photo is sent with its length")
        if not (length.isascii() and length.isdigit()):
            raise Refused(HTTPStatus.BAD_REQUEST, "a length that is no number")
        if len(length) > len(str(MAX_UPLOAD)) or int(length) > MAX_UPLOAD:
            reason = f"more than {MAX_UPLOAD:,} bytes"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
        data = self.rfile.read(int(length))
        if len(data) < int(length):
            raise Refused(HTTPStatus.BAD_REQUEST, "the photo ends early")
        return _json(self.server.work(self.server.gallery.take, data, pixels))

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **_HEADERS}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def _discard(self) -> None:
        """Read what still comes: a browser that cannot send all of it would not read the answer."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            for _ in range(16 * MAX_UPLOAD >> 16):
                if not self.rfile.read(1 << 16):
                    return


def check_options(context: click.Context) -> None:
    """Refuse what makes no sense together with --serve, or without it.

    Raises:
        click.UsageError: with the option that is too much.
    """
    serve = context.params["serve"]
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is not ParameterSource.COMMANDLINE or context.params[name] == ():
            continue  # no inputs are an empty tuple from the command line
        if serve and name not in _OPTIONS:
            raise click.UsageError(f"--serve does not take {parameter.get_error_hint(context)}")
        if not serve and name == "port":
            raise click.UsageError("--port goes with --serve")
    if not serve and not context.params["inputs"]:
        raise click.UsageError("Missing argument 'IN...'.")


def run(
    model: str | Path, device: str, rivals: Sequence[Contender], absent: Sequence[str], port: int
) -> None:
    """Serve until the program is interrupted; the address goes to stdout.

    `absent` are notes on codecs that could not be asked.

    Raises:
        OSError: the port is taken.
        ModelError: there is no such model.
    """
    try:
        server = Server(port)
    except OSError as error:
        raise OSError(f"port {port}: {describe(error)} (--port 0 takes a free one)") from error
    try:
        server.open(Gallery(vqcodec_contender(load_codec(model, device)), rivals, absent))
        answer(server.url)
        click.echo("Open this address in a browser; Ctrl-C ends it.", err=True)
        server.serve_forever()
    finally:
        server.server_close()


def _whole(name: str, text: str, largest: int) -> int:
    """Return the number of a query, of 1 to `largest`; Refused if it is none."""
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= largest:
        return int(text)
    raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is a whole number of 1 to {largest}")


def _json(content: Answer) -> tuple[str, bytes]:
    return "application/json", json.dumps(content).encode()
