"""Run the notebooks of docs/ from nothing, and write their outputs into them.

`make readme` runs this tool. The argument `check` changes nothing, and fails if an output is not what the file has:
words have to be the same, and numbers with a point the same to a hundredth of their size. A cell that raises, warns or
writes to stderr fails in either case.

Each notebook is run in a Python of its own, which begins in the notebook's folder with an empty namespace, as Jupyter
does. Outputs are what a cell prints, and the value of its last line as text and, where the value has that, as HTML.
Instructions and threads are held, so that trainings end in the same outputs everywhere (docs/same-bits.md).
"""

import ast
import contextlib
import importlib
import io
import json
import math
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from deepclust.files import write_text

DOCS = Path(__file__).parents[1] / "docs"
HELD = {"DEEPCLUST_INSTRUCTIONS": "avx2", "OMP_NUM_THREADS": "1"}
NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")


def main(command: str = "write") -> None:
    if command not in {"write", "check"}:
        sys.exit(f"notebook.py takes nothing or 'check', got {command!r}")
    for path in sorted(DOCS.rglob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
        kernel = subprocess.run(
            [sys.executable, __file__, "kernel"],
            cwd=path.parent,
            env=os.environ | HELD,
            input=json.dumps(sources),
            capture_output=True,
            text=True,
            check=False,
        )
        if kernel.returncode or kernel.stderr:
            sys.exit(f"{path}: {kernel.stderr}")
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for count, (cell, outputs) in enumerate(zip(cells, json.loads(kernel.stdout), strict=True), start=1):
            if command == "check" and not agree(cell["outputs"], outputs):
                sys.exit(f"{path}: cell {count} has another output now; run make readme")
            cell |= {"execution_count": count, "outputs": [named(output, count) for output in outputs]}
        if command == "write":
            write_text(path, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def kernel(sources: list[str]) -> list[list[dict[str, Any]]]:
    """Return the outputs of each cell, one after the other in one namespace."""
    importlib.import_module("deepclust")  # before NumPy, which it holds to the instructions
    warnings.simplefilter("error")
    space: dict[str, Any] = {"__name__": "__main__"}
    found = []
    for source in sources:
        body = ast.parse(source).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        printed, value = io.StringIO(), None
        with contextlib.redirect_stdout(printed):
            exec(compile(ast.Module(body, []), "<cell>", "exec"), space)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), space)
        outputs: list[dict[str, Any]] = []
        if printed.getvalue():
            outputs.append({"output_type": "stream", "name": "stdout", "text": lines(printed.getvalue())})
        if value is not None:
            data = {"text/plain": lines(repr(value))}
            if hasattr(value, "_repr_html_"):
                data["text/html"] = lines(value._repr_html_())
            outputs.append({"output_type": "execute_result", "metadata": {}, "data": data})
        found.append(outputs)
    return found


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def named(output: dict[str, Any], count: int) -> dict[str, Any]:
    """Return an output with the number of its cell, where the format of notebooks wants it."""
    return output | ({"execution_count": count} if output["output_type"] == "execute_result" else {})


def agree(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> bool:
    """Return whether two lists of outputs have the same words, and numbers that are nearly the same."""
    was, now = (
        json.dumps([{"text": output.get("text"), "data": output.get("data")} for output in outputs])
        for outputs in (old, new)
    )
    pairs = zip(NUMBER.findall(was), NUMBER.findall(now), strict=False)
    near = all(math.isclose(float(a), float(b), rel_tol=0.01, abs_tol=1e-9) for a, b in pairs)
    return near and words(was) == words(now)


def words(text: str) -> str:
    """Return a text without its numbers, and with single spaces: a column is as wide as its longest number."""
    return re.sub(r"\s+|-{2,}", " ", NUMBER.sub("#", text))


if __name__ == "__main__":
    if sys.argv[1:] == ["kernel"]:
        print(json.dumps(kernel(json.loads(sys.stdin.read()))))
    else:
        main(*sys.argv[1:])
