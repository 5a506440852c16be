"""The command `deepclust`: data clustered anywhere, and grids run from a clone.

Each command is a function of a module of this folder, which is imported when the command is given. Errors are one line
and exit code 2, as those of stages and tools: see `deepclust.script`.
"""

import argparse
from importlib import import_module
from typing import NoReturn

from deepclust import __version__
from deepclust.errors import UserError
from deepclust.script import run_as_script

_EXAMPLES = """\
examples:
  deepclust cluster flowers.csv -k 3 --labels species
  deepclust cluster photos -k 5 --method decs --image-shape 3,32,32 --set epochs=20
  deepclust cluster flowers.csv -k 2-12 --method kmeans
  deepclust label flowers-kmeans more.csv
  deepclust methods idec
  deepclust run benchmark --jobs 4
"""
_SCALES = ("feature", "global", "none")
_COMPRESSIONS = ("gzip", "bz2", "xz", "zip", "none")


def run() -> None:
    """Run the command line of this process."""
    run_as_script(main, is_stage=False)


def main(*words: str) -> None:
    """Do what a command line asks for; raise UserError for one that cannot be read."""
    asked, unknown = _parser().parse_known_args(words)
    if unknown:
        raise UserError(f"unrecognized arguments: {' '.join(unknown)}; see {asked.prog} --help")
    module, _, function = asked.does.partition(":")
    getattr(import_module(f"{__name__}.{module}"), function)(asked)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and which takes no abbreviations."""

    def __init__(self, **given: object) -> None:
        defaults = {"allow_abbrev": False, "formatter_class": argparse.RawDescriptionHelpFormatter}
        super().__init__(**defaults | given)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="deepclust",
        description="Cluster data with deep methods and their baselines, and rerun the grids of a clone.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"deepclust {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, does: str, summary: str, description: str = "") -> argparse.ArgumentParser:
        found = commands.add_parser(
            name, help=summary, description=description or f"{summary[0].upper()}{summary[1:]}."
        )
        found.set_defaults(does=does, prog=found.prog)
        return found

    _describe_cluster(command("cluster", "own:cluster", "cluster your own table, array or folder of images", _CLUSTER))
    label = command("label", "own:label", "label more samples by a fit of `deepclust cluster`", _LABEL)
    label.add_argument("results", metavar="RESULTS", help="the folder that `deepclust cluster` has written")
    label.add_argument("data", metavar="DATA", help="a file or a folder, as the data of the fit were")
    label.add_argument("--out", metavar="FILE", help="default: DATA's name and -labels.csv, in the current folder")
    methods = command("methods", "catalogue:methods", "list the methods, or show one with all its settings")
    methods.add_argument("name", nargs="?", metavar="NAME", help="a method")
    command("datasets", "catalogue:datasets", "list the published data sets")

    command("grids", "clone:grids", "list the grids of this clone")
    one = command("run", "clone:run", "run a grid, or what of it changed, as make repro does")
    report = command("report", "clone:report", "write a grid's report from the cells evaluated so far")
    for grid in (one, report):
        grid.add_argument("grid", nargs="?", metavar="GRID", help="default: the grid of the clone's root")
    one.add_argument(
        "--only", metavar="STAGES", help="'evaluate@usps-*': stages of such a name, and what they build on"
    )
    beside = one.add_mutually_exclusive_group()
    beside.add_argument("--jobs", type=int, metavar="N", help="so many stages side by side on this machine")
    beside.add_argument("--scheduler", metavar="ADDRESS", help="stages on a Dask cluster, tcp://HOST:PORT")
    compare = command("compare", "clone:compare", "say whether a grid's scores agree with those of a commit")
    compare.add_argument("grid", nargs="?", metavar="GRID", help="default: the grid of the clone's root")
    compare.add_argument("commit", nargs="?", default="HEAD", metavar="COMMIT", help="default: HEAD")
    verify = command("verify", "clone:verify", "say which committed results are current")
    verify.add_argument(
        "--objects", nargs="?", const="", metavar="REMOTE", help="read DVC's cache, or a remote, instead"
    )
    tables = command("tables", "clone:tables", "print a paper's tables, reported beside ours")
    tables.add_argument("paper", nargs="?", metavar="PAPER", help="default: list the papers")
    return parser


_CLUSTER = """\
Cluster data of your own. Written into a folder: labels.csv, the cluster of every sample; index.html, a page with the
map, the training and the scores; run.json, all settings; figures/ and files/, what the page is made of; sweep.csv, the
criteria of every K of a range. Labels serve the scores alone: no fit and no choice of K sees them.

DATA is a table (.csv, .tsv, .parquet; text may be compressed), an array (.npy, .npz), a folder of .npy files (with
--array), or a folder of images. docs/own-data.md explains every kind; its settings are options here.
"""

_LABEL = """\
Label more samples by the fitted method in a folder that `deepclust cluster` has written: a CSV file with the cluster of
each. DATA has the form of the data of the fit, is read by the same options and scaled by the same bounds.
"""


def _describe_cluster(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="a file or a folder")
    counts = "number of clusters; `auto` finds one, a range such as 2-12 is tried and judged (docs/own-data.md)"
    add("-k", "--clusters", required=True, metavar="K", dest="n_clusters", help=counts)
    add("--method", default="hybrid", metavar="NAME", help="`deepclust methods` lists them (default: %(default)s)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="settings",
        help="a setting of the method, or of its network as pretraining.NAME=VALUE; may be repeated",
    )
    add("--labels", metavar="NAME", help="true classes, for scores: a column, an array, a file, or `folders` of images")
    add("--seed", type=int, default=0, metavar="N", help="of everything random (default: %(default)s)")
    add(
        "--seeds",
        type=int,
        metavar="N",
        help="how many, from --seed on, of which the clusters are the consensus (default: 1; 3 for each K of a range)",
    )
    add("--out", metavar="FOLDER", help="default: DATA's name and the method's, in the current folder")
    add("--force", action="store_true", help="replace the results in FOLDER")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--threads", type=int, default=2, metavar="N", help="last bits depend on it (default: %(default)s)")
    read = parser.add_argument_group("how DATA is read (docs/own-data.md)").add_argument
    read("--scale", choices=_SCALES, help="into [0, 1]; default: feature for tables, global for arrays")
    read(
        "--columns",
        metavar="A,B,...",
        help="a table's features, a name with a comma in double quotes; default: all but labels and index",
    )
    read("--index", metavar="NAME", help="a table's column that names the samples; `true` for the first")
    read("--header", choices=("true", "false"), help="whether the first row of a text file names the columns")
    read("--separator", metavar="CHAR", help="of a text file; default: a comma, a tab in .tsv")
    read("--encoding", metavar="NAME", help="of a text file (default: UTF-8)")
    read("--compression", choices=_COMPRESSIONS, help="of a text file; default: as the name says")
    read("--array", metavar="NAME", help="the features in a .npz file, or their file in a folder")
    read("--image-shape", metavar="C,H,W", help="channels, height, width that images are brought to")
