"""HTML pages in one file: tables, and sliders that lay one picture over another.

A page needs neither network nor other files: pictures are data URIs, and style and script stand in
the template page.html beside this module. Callers pass plain text, everything is escaped here; only
the parts of a page are HTML already, made by the functions below.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

_TEMPLATE = Path(__file__).with_name("page.html")
_SIZES = {"fit": "fitted", "1": "1:1", "2": "2:1", "4": "4:1"}


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


def page(title: str, lead: str, parts: Sequence[str], *, style: str = "") -> str:
    """Return the whole document; `parts` are HTML, `style` is CSS that they need."""
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title), lead=escape(lead), parts="\n".join(parts), style=style
    )


def heading(text: str, level: int = 2) -> str:
    """Return a heading; level 1 is the page's own title."""
    return f"<h{level}>{escape(text)}</h{level}>"


def listing(items: Sequence[str]) -> str:
    """Return a bulleted list, or nothing for no items."""
    points = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f"<ul>{points}</ul>" if points else ""


def folded(summary: str, part: str) -> str:
    """Return a part that shows when its summary is clicked."""
    return f"<details><summary>{escape(summary)}</summary>{part}</details>"


def table(content: Table) -> str:
    """Return a table with its caption underneath; on a narrow screen it scrolls by itself."""
    header = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in content.header)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in content.rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(content.title)}">'
        f"<table><caption>{escape(content.caption)}</caption>\n"
        f"<thead><tr>{header}</tr></thead>\n<tbody>{rows}</tbody></table></div>"
    )


def slider(pictures: Sequence[Picture], *, left: int, right: int, caption: str) -> str:
    """Return a slider between any two of the pictures, at first those at `left` and `right`."""
    images = "\n".join(
        f'<img alt="{escape(each.label)}" data-name="{escape(each.name)}" '
        f'width="{each.size[0]}" height="{each.size[1]}" draggable="false" '
        f'src="data:{each.mime};base64,{base64.b64encode(each.data).decode()}">'
        f"<p>{escape(each.label)}</p>"
        for each in pictures
    )
    labels = {str(index): each.label for index, each in enumerate(pictures)}
    return (
        '<figure class="slider">\n<div class="controls" hidden>'
        f"{_select('Left', labels, str(left))}{_select('Size', _SIZES, 'fit')}"
        f"{_select('Right', labels, str(right))}</div>\n"
        '<div class="stage"><div class="view" role="group" tabindex="0" aria-label="Pictures">'
        f'<div class="stack">\n{images}\n</div></div>\n'
        '<label hidden>Divider <input type="range" min="0" max="100" step="0.5" value="50"></label>'
        f"</div>\n<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _select(label: str, options: dict[str, str], chosen: str) -> str:
    choices = "".join(
        f'<option value="{escape(value)}"{" selected" * (value == chosen)}>{escape(text)}</option>'
        for value, text in options.items()
    )
    return f"<label>{label} <select>{choices}</select></label>"
