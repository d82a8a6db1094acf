"""The page on trust: its counts are those of the source, and what it promises of weights holds."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import vqcodec
from vqcodec import errors, weights
from vqcodec.fileformat import metadata
from vqcodec.weights.packages import MOVED

PACKAGE = Path(vqcodec.__file__).parent
PAGE = (Path(__file__).parents[1] / "docs" / "trust.md").read_text(encoding="utf-8")
# The first weights that a later release may not remove.
FIRST_THAT_STAYS = 6


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading of the page, without its head."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def texts(node: ast.expr | None) -> int:
    """How many different texts an expression may be, of those that stand in it."""
    match node:
        case ast.IfExp():
            return texts(node.body) + texts(node.orelse)
        case ast.Constant(value=str()) | ast.JoinedStr() | ast.BinOp(left=ast.JoinedStr()):
            return 1
        case ast.List():
            return sum(map(texts, node.elts))
        case ast.GeneratorExp():
            return texts(node.elt)
    return 0


def notes_in(node: ast.AST) -> int:
    """How many texts of notes a part of the source holds.

    Those that are appended to `notes`, assigned to it, or warned of; all that a function yields or
    returns which gives texts as `_left_out` does, or notes by its name.
    """
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Name("notes") | ast.Attribute(attr="notes"), attr="append")
        ):
            return texts(node.args[0])
        case ast.Call(func=ast.Name("warn")):
            return texts(node.args[0])
        case ast.Assign(targets=[ast.Name("notes")]):
            return texts(node.value)
        case ast.FunctionDef(name="_left_out"):
            return sum(texts(part.value) for part in ast.walk(node) if isinstance(part, ast.Yield))
        case ast.FunctionDef(name=str(name)) if name.startswith("_note_on"):
            returned = (part for part in ast.walk(node) if isinstance(part, ast.Return))
            return sum(texts(part.value) for part in returned)
    return 0


def test_the_kinds_of_notes_are_counted() -> None:
    counts = {name: sum(map(notes_in, ast.walk(tree))) for name, tree in modules()}
    # One text there names what stands in a table.
    counts["fileformat/metadata.py"] += len(metadata._JPEG_SEGMENTS)
    rows = table("Nothing is changed or left out without a word")
    shown = {name.strip("`"): int(number) for name, _, number in rows}
    assert shown == {name: count for name, count in counts.items() if count}
    assert f"{sum(shown.values())} kinds of notes" in PAGE


def refusal(node: ast.AST, made: dict[str, str]) -> str | None:
    """The name of the error that a statement raises; `made` says what functions give."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        function = node.exc.func
        if isinstance(function, ast.Name):
            return made.get(function.id, function.id)
        if isinstance(function, ast.Attribute):
            return function.attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner = node.func.value
        if node.func.attr == "fail" and isinstance(owner, ast.Name) and owner.id == "self":
            return "BadParameter"
    return None


def test_the_kinds_of_refusals_are_counted() -> None:
    family = [
        name
        for name, error in vars(errors).items()
        if isinstance(error, type) and issubclass(error, errors.VqcError)
    ]
    groups = {name: name for name in family} | {
        "FileExistsError": "paths",
        "FileNotFoundError": "paths",
        "IsADirectoryError": "paths",
        "UsageError": "command line",
        "BadParameter": "command line",
        "ClickException": "command line",
    }
    counts: Counter[str] = Counter()
    for _, tree in modules():
        made = {
            part.name: part.returns.id
            for part in ast.walk(tree)
            if isinstance(part, ast.FunctionDef) and isinstance(part.returns, ast.Name)
        }
        for node in ast.walk(tree):
            error = refusal(node, made)
            if error in groups:
                counts[groups[error]] += 1
    shown = {name.strip("`"): int(number) for name, _, number in table("What is refused, and how")}
    assert shown == counts
    assert f"{sum(shown.values())} refusals" in PAGE
    assert set(shown) >= set(family) - {"VqcError"}


def test_weights_that_shipped_stay() -> None:
    generations = {tune: int(name.split("-")[1]) for tune, name in weights.TUNED.items()}
    (newest,) = set(generations.values())
    promise = f"from photo-{FIRST_THAT_STAYS} on, shipped weights stay readable"
    assert promise in re.sub(r"\s+", " ", PAGE)
    readable = {model.name for model in weights.shipped()} | set(MOVED.values())
    promised = {
        f"photo-{number}-{tune}"
        for number in range(FIRST_THAT_STAYS, newest + 1)
        for tune in generations
    }
    assert promised <= readable
