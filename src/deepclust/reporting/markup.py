"""Elements of HTML and SVG as text, any text that is not markup already being escaped; tables of Markdown."""

from collections.abc import Iterable, Sequence
from html import escape

_VOID = {"img", "input", "meta"}
_LINES = {"div", "figure", "h1", "h2", "h3", "h4", "head", "li", "p", "section", "summary", "table", "tr", "ul"}


class Html(str):
    """Text that is markup already; any other text is escaped when it goes into an element."""


def tag(element: str, *children: str, **attributes: str | None) -> Html:
    """Return an element. `class_` and `data_x` are the attributes class and data-x; None leaves one out."""
    shown = (
        f' {key.rstrip("_").replace("_", "-")}="{escape(text)}"' for key, text in attributes.items() if text is not None
    )
    start = f"<{element}{''.join(shown)}>"
    if element in _VOID:
        return Html(start)
    inner = "".join(child if isinstance(child, Html) else escape(child, quote=False) for child in children)
    end = "\n" if element in _LINES else ""  # one line each, so that git shows which results changed
    return Html(f"{start}{inner}</{element}>{end}")


def header_cell(text: str) -> Html:
    """Return the heading of a column, which sorts the table."""
    return tag("th", tag("button", text, type="button"), scope="col")


def status(status: str) -> Html:
    return tag("span", status, class_=f"status {status}")


def scrolling(label: str, table: Html) -> Html:
    """Return a table in a box of its own, which scrolls where it is too wide."""
    return tag("div", table, class_="scroll", role="region", aria_label=label, tabindex="0")


def cell_id(dataset: str, cell: str) -> str:
    """Return the id of the section of a cell, and of its read-outs."""
    return f"cell-{dataset}-{cell.split('/')[0]}"


def markdown_grid(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numeric: bool = False) -> str:
    """Return a Markdown table of texts that are Markdown already; `numeric` columns, but for the first, end right."""
    ruler = ["---", *["---:" if numeric else "---"] * (len(heads) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, ruler, *rows])
