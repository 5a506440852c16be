"""Pages and notebooks whose Python is run: in order, in one namespace, each block printing what stands below it."""

import contextlib
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import notebook

DOCS = Path(__file__).parents[1] / "docs"
README = DOCS.parent / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [README, DOCS / "library.md"], ids=lambda page: page.stem)
def test_blocks_print_what_the_page_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    assert len(blocks) == text.count("```python") > 0
    names: dict[str, Any] = {}
    for code, expected in blocks:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, str(page), "exec"), names)
        assert out.getvalue() == expected, code


FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
SHALLOW = re.compile(r"^ {1,3}(?:- |\d+\. )|(?<=\n\n) {1,3}\S", re.MULTILINE)
ABSORBED = re.compile(r"(?<=\n\n)    \S.*\n(?:.+\n)*?((?:\d+\.|-) .*)")


@pytest.mark.parametrize("page", [README, *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_what_is_nested_in_a_list_is_so_on_the_site(page: Path) -> None:
    """The site's Markdown, unlike GitHub's, wants four spaces, and a blank line before the item that follows."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert SHALLOW.findall(text) == []
    assert ABSORBED.findall(text) == []


LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")


PAGES = [README, *sorted(DOCS.rglob("*.md")), *sorted(DOCS.rglob("*.ipynb"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    found = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in found if not (page.parent / link).exists()] == []


def test_notebooks_print_what_they_show() -> None:
    script = [sys.executable, notebook.__file__, "check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_cells_share_names_and_show_what_they_print_and_their_last_value() -> None:
    outputs = notebook.kernel(["a = 2", "print(a)\na + 1.5", "a"])
    shown = [[output.get("text") or output["data"]["text/plain"] for output in cell] for cell in outputs]
    assert shown == [[], [["2\n"], ["3.5"]], [["2"]]]


@pytest.mark.parametrize(
    ("now", "same"),
    [
        (["ACC   0.812\n"], True),
        (["ACC 0.80900\n"], True),
        (["ACC 0.84\n"], False),
        (["NMI 0.81\n"], False),
        (["ACC 0.81 0.81\n"], False),
        (["ACC -0.81\n"], False),
        ([], False),
    ],
)
def test_outputs_agree_in_words_and_nearly_in_numbers(now: list[str], same: bool) -> None:
    def output(text: list[str]) -> list[dict[str, Any]]:
        return [{"output_type": "stream", "name": "stdout", "text": text}] if text else []

    assert notebook.agree(output(["ACC 0.81\n"]), output(now)) is same
