"""Pages: what is in the text of one, and how it behaves in a browser."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from vqcodec.commands.page import Picture, Table, folded, heading, listing, page, slider, table

if TYPE_CHECKING:
    from benchmarks.chromium import Chromium

NASTY = "<b>&\"'</script>"
VOID = {"img", "input", "link", "meta"}


def picture(name: str, colour: str, size: tuple[int, int] = (600, 300)) -> Picture:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "PNG")
    return Picture(name, f"{name}, 12 bytes", "image/png", stream.getvalue(), size)


def document(size: tuple[int, int] = (600, 300)) -> str:
    pictures = [
        picture("original", "lime", size),
        picture("ours", "blue", size),
        picture("theirs", "red", size),
    ]
    wide = Table("Figures", ["codec", *"abcdefghijklm"], [["x", *["1,234,567"] * 13]], "A caption.")
    return page("Title", "Lead.", [table(wide), slider(pictures, left=2, right=1, caption="Below")])


class _Balance(HTMLParser):
    """Notices a tag that is closed in the wrong place or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_text_is_escaped_and_every_tag_closed() -> None:
    content = Table(NASTY, [NASTY, NASTY], [[NASTY, NASTY]], NASTY)
    parts = [
        heading(NASTY),
        listing([NASTY]),
        folded(NASTY, table(content)),
        slider([Picture(NASTY, NASTY, "image/png", b"", (1, 1))], left=0, right=0, caption=NASTY),
    ]
    parser = _Balance()
    parser.feed(page(NASTY, NASTY, parts))
    parser.close()
    assert parser.open == []
    # Title and its heading, lead, heading, list, summary; two headers, two cells and the caption of
    # the table; label, two options and the caption of the slider.
    assert parser.text.count(NASTY) == 15


def test_a_page_names_no_address_but_its_own_pictures() -> None:
    text = document()
    assert re.findall(r"(?:src|href)=\"([^\"]{5})", text) == ["data:"] * 4
    assert "//" not in re.sub(r"base64,[^\"]*|// .*", "", text)
    assert "url(" not in text


def test_a_slider_begins_with_the_pictures_asked_for() -> None:
    left, size, right = re.findall(r"<option value=\"(\w+)\" selected>", document())
    assert (left, size, right) == ("2", "fit", "1")


def test_an_empty_list_leaves_nothing() -> None:
    assert listing([]) == ""


# In a browser


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text(document(), encoding="utf-8")
    return path


def box_of_pictures(browser: Chromium) -> tuple[float, float, float, float]:
    """Left, top, width and height of what is shown, scrolled to the middle of the screen."""
    found = browser.evaluate(
        "(() => { const view = document.querySelector('.view');"
        " view.scrollIntoView({block: 'center'});"
        " const box = view.getBoundingClientRect();"
        " return [box.x, box.y, box.width, box.height]; })()"
    )
    x, y, width, height = map(float, found)
    return x, y, width, height


def colours(browser: Chromium, *shares: float) -> list[str]:
    """The colours of the pictures on the screen at shares of their width."""
    x, y, width, height = box_of_pictures(browser)
    screen = browser.screenshot()
    names: dict[object, str] = {(0, 255, 0): "lime", (0, 0, 255): "blue", (255, 0, 0): "red"}
    pixels = [screen.getpixel((int(x + share * width), int(y + height / 2))) for share in shares]
    return [names.get(pixel, str(pixel)) for pixel in pixels if isinstance(pixel, tuple)]


@pytest.mark.slow
def test_the_divider_shows_one_picture_left_and_the_other_right_of_it(
    browser: Chromium, file: Path
) -> None:
    browser.open(file)
    assert colours(browser, 0.05, 0.45, 0.55, 0.95) == ["red", "red", "blue", "blue"]
    x, y, width, height = box_of_pictures(browser)
    browser.drag(x + 0.5 * width, x + 0.2 * width, y + height / 2)
    assert colours(browser, 0.15, 0.25) == ["red", "blue"]
    assert browser.complaints() == []


@pytest.mark.slow
def test_everything_works_from_the_keyboard(browser: Chromium, file: Path) -> None:
    browser.open(file)
    order = []
    for _ in range(6):
        browser.press("Tab")
        order.append(browser.evaluate("document.activeElement.tagName"))
    # The table, then the pictures left and right with their size, the pictures, and the divider.
    assert order == ["DIV", "SELECT", "SELECT", "SELECT", "DIV", "INPUT"]
    outline = browser.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"

    text = "document.activeElement.getAttribute('aria-valuetext')"
    assert browser.evaluate(text) == "50 % theirs, the rest ours"
    for _ in range(4):
        browser.press("ArrowRight")
    assert browser.evaluate(text) == "52 % theirs, the rest ours"
    browser.press("End")
    assert colours(browser, 0.05, 0.95) == ["red", "red"]
    browser.press("Home")
    assert colours(browser, 0.05, 0.95) == ["blue", "blue"]

    browser.evaluate("document.querySelector('select').focus()")
    browser.press("Home")
    assert browser.evaluate("document.activeElement.value") == "0"
    browser.evaluate("document.querySelector('input').focus()")
    browser.press("End")
    assert colours(browser, 0.05, 0.95) == ["lime", "lime"]
    assert browser.complaints() == []


@pytest.mark.slow
def test_the_same_picture_on_both_sides_is_shown_whole(browser: Chromium, file: Path) -> None:
    browser.open(file)
    browser.evaluate("document.querySelectorAll('select')[2].focus()")
    browser.press("End")
    assert colours(browser, 0.05, 0.95) == ["red", "red"]


@pytest.mark.slow
def test_on_a_phone_nothing_sticks_out_and_a_finger_moves_the_divider(
    browser: Chromium, file: Path
) -> None:
    browser.open(file, phone=True)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    x, y, width, height = box_of_pictures(browser)
    assert width <= 390
    browser.touch(x + 0.8 * width, y + height / 2)
    assert colours(browser, 0.7, 0.9) == ["red", "blue"]
    heights = "[...document.querySelectorAll('select, input')].map(e => e.offsetHeight)"
    assert min(browser.evaluate(heights)) >= 44  # of a finger's size
    assert browser.complaints() == []


@pytest.mark.slow
def test_magnified_the_divider_stays_in_sight(browser: Chromium, tmp_path: Path) -> None:
    file = tmp_path / "large.html"
    file.write_text(document((3000, 1500)), encoding="utf-8")
    browser.open(file)
    assert box_of_pictures(browser)[2] <= 1280
    browser.evaluate("document.querySelectorAll('select')[1].focus()")
    browser.press("End")
    assert browser.evaluate("document.querySelector('img.left').clientWidth") == 12000
    for scrolled in (0, 5000):
        browser.evaluate(f"document.querySelector('.view').scrollLeft = {scrolled}")
        assert colours(browser, 0.4, 0.6) == ["red", "blue"]


@pytest.mark.slow
def test_the_page_is_dark_where_the_system_is(browser: Chromium, file: Path) -> None:
    corner = {}
    for dark in (False, True):
        browser.open(file, dark=dark)
        corner[dark] = browser.screenshot().convert("L").getpixel((2, 2))
    assert corner == {False: 255, True: pytest.approx(24, abs=8)}


@pytest.mark.slow
def test_without_scripts_all_pictures_are_there(browser: Chromium, file: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(file)
    shown = browser.evaluate(
        "[...document.querySelectorAll('img')].filter(e => e.clientHeight).length"
    )
    controls = browser.evaluate("document.querySelector('.controls').clientHeight")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert (shown, controls) == (3, 0)
