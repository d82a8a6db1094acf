"""Web pages in one file: tables, and sliders that lay one picture over another.

A page needs neither network nor other files: pictures are data URIs, and style and script stand in
the template page.html beside this module; sections.html has what stands on a page, and serve.html
is a page that asks the program that it came from. Callers pass
plain text, which the templates escape; only whole sections are HTML, made by the functions below.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"base64": lambda data: b64encode(data).decode(), "enumerated": enumerate}


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the first cell of a row names it, and the caption says what is shown and how."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that browsers can show, as bytes of a file of type `mime`."""

    name: str
    label: str
    mime: str
    data: bytes
    size: tuple[int, int]


def page(title: str, lead: str, sections: Sequence[str], *, style: str = "") -> str:
    """Return the whole document; `sections` are HTML, `style` is CSS that they need."""
    template = _templates.get_template("page.html")
    return template.render(title=title, lead=lead, sections=sections, style=style)


def live_page(
    title: str, lead: str, codecs: Sequence[str], header: Sequence[str], *, max_upload: int
) -> str:
    """Return a page that sends a photograph of up to `max_upload` bytes to its own server.

    It shows what each of `codecs`, ours first, makes of it, with figures under `header`.
    """
    template = _templates.get_template("serve.html")
    return template.render(
        title=title,
        lead=lead,
        codecs=codecs,
        header=header,
        max_upload=max_upload,
        pictures=[Picture(name, name, "image/gif", b"", (1, 1)) for name in ("original", *codecs)],
    )


def heading(text: str, level: int = 2) -> str:
    """Return a heading; level 1 is the page's own title."""
    return _section("heading", text, level)


def listing(items: Sequence[str]) -> str:
    """Return a bulleted list, or nothing for no items."""
    return _section("listing", items)


def folded(summary: str, section: str) -> str:
    """Return a section that shows when its summary is clicked."""
    return _section("folded", summary, section)


def table(content: Table) -> str:
    """Return a table with its caption underneath; on a narrow screen it scrolls by itself."""
    return _section("table", content)


def slider(pictures: Sequence[Picture], *, left: int, right: int, caption: str) -> str:
    """Return a slider between any two of the pictures, at first those at `left` and `right`."""
    return _section("slider", pictures, left, right, caption)


def _section(macro: str, *arguments: object) -> str:
    return str(getattr(_templates.get_template("sections.html").module, macro)(*arguments))
