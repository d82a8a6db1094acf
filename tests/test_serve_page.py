"""The page of the served comparison, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from benchmarks.chromium import Chromium
    from vqcodec.commands.serve import Server

SETTLED = """new Promise(done => {
  const look = () => document.getElementById("state").textContent === "Ready."
    && !document.querySelector("#compared .stale[src]") ? done() : setTimeout(look, 20);
  setTimeout(look, 200);
})"""


@pytest.fixture
def file(tmp_path: Path, photo: Image.Image) -> Path:
    path = tmp_path / "a <b>photo.png"
    photo.resize((384, 256)).save(path)
    return path


def figures(browser: Chromium) -> dict[str, list[str]]:
    """The cells of every codec, once all are there."""
    browser.evaluate(SETTLED)
    rows: dict[str, list[str]] = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('tr[data-codec]')].map(row =>"
        " [row.dataset.codec, [...row.cells].slice(1).map(cell => cell.textContent)]))"
    )
    return rows


def text(browser: Chromium, name: str) -> str:
    return str(browser.evaluate(f"document.getElementById('{name}').textContent"))


def size(row: list[str]) -> int:
    return int(row[1].replace(",", ""))


@pytest.mark.slow
def test_a_photo_chosen_is_compared_at_every_quality(
    browser: Chromium, server: Server, file: Path
) -> None:
    browser.open(server.url)
    assert browser.evaluate("document.getElementById('compared').clientHeight") == 0
    browser.choose("#file", file)
    at_50 = figures(browser)
    assert list(at_50) == ["vqcodec", "jpeg", "webp"]
    assert at_50["vqcodec"][0] == "50"
    assert size(at_50["webp"]) <= size(at_50["vqcodec"])
    assert text(browser, "name") == file.name
    assert text(browser, "notes") == "avif left out"
    shown = "[...document.querySelectorAll('.stack img')].map(e => e.naturalWidth)"
    assert browser.evaluate(shown)[:2] == [384, 384]

    browser.evaluate("document.getElementById('quality').focus()")
    browser.press("End")
    at_100 = figures(browser)
    assert at_100["vqcodec"][0] == "100"
    assert size(at_50["vqcodec"]) < size(at_100["vqcodec"])
    assert float(at_50["webp"][4]) < float(at_100["webp"][4])
    assert browser.evaluate(shown) == [384] * 4
    options = browser.evaluate("[...document.querySelectorAll('select')][1].textContent")
    assert f"vqcodec, {at_100['vqcodec'][1]} bytes, {at_100['vqcodec'][4]} dB" in options
    assert not [line for line in browser.complaints() if "422" not in line]


@pytest.mark.slow
def test_files_dropped_are_taken_or_refused_in_words(
    browser: Chromium, server: Server, file: Path
) -> None:
    bad = file.with_name("bad.png")
    bad.write_bytes(b"no picture")
    browser.open(server.url)
    answer = "new Promise(done => setTimeout(() => done(), 1000))"

    browser.drop(600, 700, bad)
    browser.evaluate(answer)
    assert text(browser, "complaint") == "bad.png: not an image that Pillow can read"
    browser.drop(600, 700, file.parent)
    browser.evaluate(answer)
    assert text(browser, "complaint").endswith(": not a file that can be read")
    assert browser.evaluate("document.getElementById('compared').hidden")

    browser.drop(600, 700, file, bad)
    assert figures(browser)["vqcodec"][0] == "50"
    assert text(browser, "complaint") == f"2 files: one at a time, so {file.name} was taken."
    assert browser.evaluate("location.href") == server.url  # the browser did not open the file

    browser.drop(600, 700, bad)  # the photo before it stays
    browser.evaluate(answer)
    assert text(browser, "complaint").startswith("bad.png: ")
    assert text(browser, "name") == file.name


@pytest.mark.slow
def test_keys_move_quality_and_divider_and_choose_the_rival(
    browser: Chromium, server: Server, file: Path
) -> None:
    browser.open(server.url)
    browser.choose("#file", file)
    figures(browser)
    divider = "document.querySelector('figure input').getAttribute('aria-valuetext')"
    assert browser.evaluate(divider) == "50 % jpeg, the rest vqcodec"
    browser.press("2")
    browser.press("ArrowRight")
    assert browser.evaluate(divider) == "52 % webp, the rest vqcodec"
    browser.press("0")
    browser.press("ArrowLeft")
    browser.press("ArrowLeft")
    assert browser.evaluate(divider) == "48 % original, the rest vqcodec"
    browser.press("ArrowUp")
    browser.press("ArrowUp")
    browser.press("ArrowDown")
    assert figures(browser)["vqcodec"][0] == "51"
    assert text(browser, "value") == "51"


@pytest.mark.slow
def test_every_control_has_a_name_and_fits_a_phone(
    browser: Chromium, server: Server, file: Path
) -> None:
    browser.open(server.url, phone=True)
    browser.choose("#file", file)
    figures(browser)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = {
        node["role"]["value"]: node["name"]["value"]
        for node in nodes
        if node.get("role", {}).get("value") in ("slider", "combobox", "button", "region")
    }
    assert {"slider", "combobox"} <= named.keys()
    assert all(named.values())

    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    heights = "[...document.querySelectorAll('select, input')].map(e => e.offsetHeight)"
    assert min(browser.evaluate(heights)) >= 44  # of a finger's size
    lefts = "[...document.querySelectorAll('.controls label')].map(e => e.offsetLeft)"
    assert len(set(browser.evaluate(lefts))) == 1  # one column
    browser.evaluate("document.querySelector('.view').scrollIntoView({block: 'center'})")
    box = browser.evaluate(
        "(() => { const box = document.querySelector('.view').getBoundingClientRect();"
        " return [box.x, box.y, box.width, box.height]; })()"
    )
    x, y, width, height = map(float, box)
    browser.touch(x + 0.8 * width, y + height / 2)
    divider = "Number(document.querySelector('figure input').value)"
    assert browser.evaluate(divider) == pytest.approx(80, abs=2)


@pytest.mark.slow
def test_a_server_that_has_ended_is_said(browser: Chromium, server: Server, file: Path) -> None:
    browser.open(server.url)
    browser.choose("#file", file)
    figures(browser)
    server.shutdown()
    server.socket.close()
    browser.press("ArrowUp")
    rows = figures(browser)
    assert rows["vqcodec"] == ["no answer: is the program that shows this page still running?"]
