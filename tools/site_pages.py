"""Hooks of MkDocs: what the site has beside the pages of docs/, and where links lead on it.

The pages of docs/ are read in the repository as well, so that their links are those of the repository. On the site

- the front page is the README, two sections of which are pages of their own;
- whatever a page links to is there: pages as pages (the grids' reports), other files as they are. Links out of the site
  lead to addresses of the web alone. Only files that git would keep count: the site is the same in every clone;
- a link whose text is the path of a page has the page's title;
- a notebook is a page: its cells and their outputs as the file has them;
- the API has a page for each family of methods, for the networks, and for each package of functions. Methods, networks
  and modules are found by their files, as the package finds them, and torch is not imported.

A link to a file that is not there is a warning, with which `mkdocs build --strict` fails. The reports also name figures
in DVC's cache: such a link becomes its text.
"""

import ast
import json
import posixpath
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from pydantic import TypeAdapter
from pygments.formatters import HtmlFormatter

from deepclust import grids, layout, metadata, methods, nets
from deepclust.settings import defaults_of, meanings_of

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/deepclust"
DOCS, README = "docs/", "README.md"
PARTS = {"recipes.md": "Recipes", "dependencies.md": "Dependencies"}  # sections of the README that are pages
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
ENTRY_POINTS: dict[str, dict[str, Any]] = {  # with what is shown of each; else all that is public
    "deepclust.methods": {},
    "deepclust.methods.base": {"members": ["Clusterer"]},
    "deepclust.nets": {},
    "deepclust.nets.base": {"members": ["Network"]},
    "deepclust.training.pretrain": {},
    "deepclust.training.runtime": {"members": ["progress"]},
    "deepclust.datasets": {},
    "deepclust.errors": {},
}
# of JSON schemas
TYPES = {"boolean": "bool", "null": "None", "string": "text", "object": "a mapping of settings"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/ and the files that pages link to, and complete the navigation."""
    api = dict(api_pages())
    notebooks = {page_of(path): text_of(path) for path in kept() if is_notebook(path)}
    colours = {"pygments.css": HtmlFormatter(style="default").get_style_defs(".highlight")}
    for page, text in (readme_pages() | notebooks | api | colours).items():
        files.append(File.generated(config, page, content=text))
    folders = {grid: grids.folder(grid).relative_to(ROOT) / layout.REPORTS for grid in grids.names()}
    reports = {grid: f"{folder.as_posix()}/README.md" for grid, folder in folders.items()}
    reports = {grid: report for grid, report in reports.items() if report in kept()}
    for part in config.nav or []:
        if "Results" in part:
            part["Results"].append({"Reports of the grids": [{grid: report} for grid, report in reports.items()]})
    config.nav = [*(config.nav or []), {"API": list(api)}]
    for path in {*linked(), *reports.values()}:
        if page_of(path) == path:  # what is not in docs/
            tables = is_report(path) and path not in reports.values()
            level = InclusionLevel.NOT_IN_NAV if tables else InclusionLevel.UNDEFINED
            files.append(File.generated(config, path, abs_src_path=str(ROOT / path), inclusion=level))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page with the site's links."""
    path = source_of(page.file.src_uri)

    def renewed(link: re.Match[str]) -> str:
        text, target, anchor = link.groups(default="")
        target = resolved(path, target)
        if target in kept():
            if re.fullmatch(r"[\w./-]+\.(md|ipynb)", text):
                text = title(target)
            place = posixpath.relpath(page_of(target), posixpath.dirname(page.file.src_uri) or ".")
            return f"[{text}]({place}{anchor})"
        return text if is_report(path) else link[0]

    return LINK.sub(renewed, markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page of the API with links to the pages that docstrings name."""
    if not page.file.src_uri.startswith("api/"):
        return html

    def linked_page(name: re.Match[str]) -> str:
        file = files.get_file_from_path(page_of(name[0]))
        return f'<a href="{file.url_relative_to(page.file)}">{title(name[0])}</a>' if file else name[0]

    return re.sub(r"\bdocs/[\w/-]+\.md\b", linked_page, html)


def on_post_build(config: MkDocsConfig) -> None:
    """Take the reports, which are thousands of numbers, out of the index of the search."""
    index = Path(config.site_dir, "search/search_index.json")
    found = json.loads(index.read_text(encoding="utf-8"))
    found["docs"] = [part for part in found["docs"] if not is_report(part["location"])]
    index.write_text(json.dumps(found), encoding="utf-8")


@cache
def kept() -> frozenset[str]:
    """Return the paths of all files that git has, or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return frozenset(path for path in listed.split("\0") if (ROOT / path).is_file())


@cache
def linked() -> list[str]:
    """Return the paths of all files that pages link to, and that the pages link to which are brought along."""
    found: set[str] = set()
    waiting = [README, *(path for path in kept() if path.startswith(DOCS))]
    while waiting:
        path = waiting.pop()
        if path.endswith((".md", ".ipynb")):
            links = LINK.findall(text_of(path))
            new = {resolved(path, target) for _, target, _ in links} & kept() - found
            found |= new
            waiting += new
    return sorted(found)


def resolved(path: str, link: str) -> str:
    """Return the path of the file that a link of another file leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))


def page_of(path: str) -> str:
    """Return where a file of the repository is on the site; links to it lead there."""
    if path == README:
        return "index.md"
    return re.sub(r"\.ipynb$", ".md", path.removeprefix(DOCS))


def source_of(page: str) -> str:
    """Return the file of the repository whose links a page has."""
    if page == "index.md" or page in PARTS:
        return README
    return page if page in linked() else DOCS + page


def text_of(path: str) -> str:
    """Return a page or a notebook in Markdown."""
    return as_markdown(ROOT / path) if is_notebook(path) else (ROOT / path).read_text(encoding="utf-8")


@cache
def title(path: str) -> str:
    """Return the first heading of a page."""
    found = re.search("^# (.+)$", text_of(path), re.MULTILINE)
    return found[1] if found else path


def is_report(path: str) -> bool:
    return f"{layout.REPORTS}/" in path


def is_notebook(path: str) -> bool:
    return path.startswith(DOCS) and path.endswith(".ipynb")


def readme_pages() -> dict[str, str]:
    """Return the README as the front page, without those sections that are pages, and these."""
    text = (ROOT / README).read_text(encoding="utf-8")
    pages = {}
    for page, heading in PARTS.items():
        before, start, rest = text.partition(f"\n## {heading}\n")
        section, _, after = rest.partition("\n## ")
        if not start or not after:
            raise ValueError(f"{README} has no section '{heading}' with another one after it")
        pages[page] = f"# {heading}\n{section}"
        text = f"{before}\n## {after}"
    return {"index.md": text, **pages}


def as_markdown(notebook: Path) -> str:
    """Return the cells of a notebook: texts as they are, code and its outputs as blocks; a table as HTML has it."""
    parts = []
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "text/html" in data:
                parts.append("".join(data["text/html"]))
            else:
                parts.append(f"```text\n{''.join(output.get('text', data.get('text/plain', ''))).rstrip()}\n```")
    return "\n\n".join(parts) + f"\n\nThe notebook itself: <a href='{notebook.name}' download>{notebook.name}</a>.\n"


def api_pages() -> Iterator[tuple[str, str]]:
    """Yield each page of the API with its text, in which mkdocstrings puts the docstrings."""
    parts = ["# Library\n"]
    for name, shown in ENTRY_POINTS.items():
        parts.append(directive(name, show_root_full_path=True, **shown))
        if name.endswith(".base"):
            base = metadata.declared(ROOT.joinpath("src", *name.split(".")).with_suffix(".py"))
            parts.append(f"Settings of every `{base.__name__}`:\n\n{settings_table(base)}\n")
    yield "api/index.md", "\n".join(parts)
    for family in sorted({methods.family(name) for name in methods.names()}):
        members = [method_text(name) for name in methods.names() if methods.family(name) == family]
        yield f"api/methods/{family}.md", package_page(f"Methods: {family}", PACKAGE / "methods" / family, members)
    yield "api/networks.md", package_page("Networks", PACKAGE / "nets", [network_text(name) for name in nets.names()])
    for package in ("graph", "solvers", "losses", "metrics"):
        names = [f"deepclust.{package}.{path.stem}" for path in sorted((PACKAGE / package).glob("[!_]*.py"))]
        parts = [directive(name, show_root_full_path=True) for name in names]
        yield f"api/{package}.md", package_page(package.capitalize(), PACKAGE / package, parts)


def package_page(heading: str, package: Path, parts: list[str]) -> str:
    """Return a page that begins with the docstring of a package."""
    source = (package / "__init__.py").read_text(encoding="utf-8")
    return "\n".join([f"# {heading}\n\n{ast.get_docstring(ast.parse(source))}\n", *parts])


def method_text(name: str) -> str:
    """Return a method: its inputs, its docstring, its settings."""
    cls = methods.describe(name)
    inputs = ["samples"] * cls.needs_samples + ["a graph of neighbours"] * cls.reads_graph
    if network := cls.default_network:
        inputs.append(f"a network, [`{network}`](../networks.md#{network})")
    labels = f"no: {cls.why_no_predict}" if cls.why_no_predict else "yes, by `predict`"
    facts = [f"- source: {cls.paper}", f"- reads: {', '.join(inputs)}", f"- labels new samples: {labels}"]
    facts += [f"- sparse samples: {cls.sparse_samples}"]
    common = "Settings, beside those of [every method](../index.md#deepclust.methods.base.Clusterer):"
    settings = settings_table(cls, without=cls.not_in_params)
    parts = [f"## {name}", "\n".join(facts), class_text(methods.module(name), cls), common, settings]
    return "\n\n".join([*parts, ""])


def network_text(name: str) -> str:
    """Return a network: its docstring and its settings."""
    cls = nets.describe(name)
    parts = [
        f"## {name}",
        *["For images alone."] * cls.needs_images,
        class_text(nets.module(name), cls),
        settings_table(cls),
    ]
    return "\n\n".join([*parts, ""])


def class_text(module: str, cls: type) -> str:
    """Return the place of the docstring of a class, without a heading."""
    return directive(f"{module}.{cls.__name__}", members=False, show_bases=False, show_root_heading=False)


def directive(name: str, **options: Any) -> str:
    lines = [f"        {key}: {json.dumps(value)}" for key, value in options.items()]
    return "\n".join([f"::: {name}", *(["    options:", *lines] if lines else []), ""])


def settings_table(cls: type, without: Sequence[str] = ()) -> str:
    """Return the settings of a class as a table, in the order of its constructor."""
    defaults, hints = defaults_of(cls), get_type_hints(cls, include_extras=True)
    rows = [
        f"| `{name}` | {values(TypeAdapter(hints[name]).json_schema())} | `{defaults[name]!r}` | {escaped(meaning)} |"
        for name, meaning in meanings_of(cls).items()
        if name not in without
    ]
    return "\n".join(["| setting | values | default | meaning |", "| --- | --- | --- | --- |", *rows])


def escaped(text: str) -> str:
    """Return a text as it stands in a table of Markdown."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def values(schema: Mapping[str, Any]) -> str:
    """Return in words what a JSON schema lets a value be."""
    if "$ref" in schema:
        return "a mapping of settings"
    if several := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(map(values, several))
    if "const" in schema or "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"tuple of {values(schema['items'])}"
    limits = [f"{sign} {schema[key]:g}" for key, sign in BOUNDS.items() if key in schema]
    return " ".join([TYPES.get(schema.get("type", "any"), schema.get("type", "any")), ", ".join(limits)]).strip()
