"""A headless Chromium, driven over its debugging pipe; keys and touches are those of a real user.

It needs nothing but the program: requests and answers are JSON texts that end in a zero byte, which
Chromium reads from descriptor 3 and writes to descriptor 4.
"""

from __future__ import annotations

import base64
import io
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

_LAUNCH = (
    "import os, sys\n"
    "ends = [os.dup(int(end)) for end in sys.argv[1:3]]\n"
    "os.dup2(ends[0], 3)\n"
    "os.dup2(ends[1], 4)\n"
    "os.set_inheritable(3, True)\n"  # where a copy was 3 or 4 itself, dup2 did nothing
    "os.set_inheritable(4, True)\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)
_FLAGS = (
    "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
    "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars", "--force-color-profile=srgb",
)  # fmt: skip
_KEYS = {
    "Tab": 9, "End": 35, "Home": 36, "0": 48, "1": 49, "2": 50,
    "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip
_SECONDS = 600.0  # a busy machine is no failure


class Chromium:
    """A running browser with one tab."""

    def __init__(self, program: str, profile: Path) -> None:
        theirs_in, self._requests = os.pipe()
        self._answers, theirs_out = os.pipe()
        launch = [sys.executable, "-c", _LAUNCH, str(theirs_in), str(theirs_out)]
        self._process = subprocess.Popen(
            [*launch, program, *_FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._received = b""
        self._number = 0
        self._session: str | None = None
        self._own = "file:"
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def close(self) -> None:
        """End the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._requests)
        os.close(self._answers)

    def open(self, page: Path | str, *, dark: bool = False, phone: bool = False) -> None:
        """Load a page afresh, a file or a server's root, on a desktop's screen or a phone's."""
        width, height = (390, 844) if phone else (1280, 900)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        url = page if isinstance(page, str) else page.as_uri()
        self._own = page if isinstance(page, str) else "file:"
        loader = self.call("Page.navigate", url=url)["loaderId"]

        def loaded(message: dict[str, Any]) -> bool:
            params = message.get("params", {})
            return (params.get("name"), params.get("loaderId")) == ("load", loader)

        if not any(map(loaded, self.events)):
            self._receive(loaded)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or what it promises."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind, key=key, code=key, windowsVirtualKeyCode=_KEYS[key],
            )  # fmt: skip

    def touch(self, x: float, y: float) -> None:
        """Tap with a finger."""
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def drag(self, x: float, to_x: float, y: float) -> None:
        """Drag with the mouse."""
        for kind, at in (("mousePressed", x), ("mouseMoved", to_x), ("mouseReleased", to_x)):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind, x=at, y=y, button="left", buttons=1, clickCount=1,
            )  # fmt: skip

    def choose(self, selector: str, file: Path) -> None:
        """Choose a file with the button that a selector names."""
        expression = f"document.querySelector({json.dumps(selector)})"
        node = self.call("Runtime.evaluate", expression=expression)["result"]["objectId"]
        self.call("DOM.setFileInputFiles", files=[str(file)], objectId=node)

    def drop(self, x: float, y: float, *files: Path) -> None:
        """Drop files."""
        data = {"items": [], "files": list(map(str, files)), "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def screenshot(self) -> Image.Image:
        """What the screen shows once all events are dealt with, mode RGB."""
        frame = "requestAnimationFrame"
        self.evaluate(f"new Promise(done => {frame}(() => {frame}(() => done())))")
        data = self.call("Page.captureScreenshot", format="png")["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")

    def complaints(self) -> list[str]:
        """Errors of scripts, entries in the log, and requests that left the page."""
        found = []
        for event in self.events:
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"]["text"])
            elif event["method"] == "Log.entryAdded":
                found.append(params["entry"]["text"])
            elif event["method"] == "Network.requestWillBeSent":
                url = params["request"]["url"]
                if not url.startswith(("data:", self._own)):
                    found.append(f"requested {url}")
        return found

    def call(self, method: str, **params: object) -> Any:
        """Send a command of the DevTools protocol and return its result."""
        self._number += 1
        number = self._number
        request: dict[str, object] = {"id": number, "method": method, "params": params}
        if self._session is not None:
            request["sessionId"] = self._session
        os.write(self._requests, json.dumps(request).encode() + b"\0")
        answer = self._receive(lambda message: message.get("id") == number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _receive(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read up to the message that is wanted; what comes before it are events."""
        deadline = time.monotonic() + _SECONDS
        while True:
            text, zero, rest = self._received.partition(b"\0")
            if zero:
                self._received = rest
                message: dict[str, Any] = json.loads(text)
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
                continue
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._answers], [], [], left)
            data = os.read(self._answers, 1 << 16) if ready else b""
            assert data, "Chromium has ended" if ready else f"Chromium is silent for {_SECONDS} s"
            self._received += data
