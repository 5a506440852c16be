"""The command `cluster`: own data read, clustered by one method, scored, drawn and written into a folder.

The command `label` reads that folder, and labels more samples by the fitted method in it.
"""

import argparse
import csv
import hashlib
import importlib.util
import inspect
import itertools
import json
import logging
import math
import os
import re
import secrets
import shlex
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepclust import __version__, execution, instructions, methods, nets
from deepclust.cli._lines import aligned, say
from deepclust.cli._room import MODEL, PAGE, RECORD, SAMPLES, kept_beside, room
from deepclust.cli.catalogue import APART
from deepclust.closure import code_of, digest_of
from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.files import read_array, read_json, to_json, write_array, write_json, write_text
from deepclust.methods._saving import versions
from deepclust.settings import as_plain, checked, names_of

_log = logging.getLogger("deepclust.cluster")

_NAME = "data"  # in messages of the reader, which speak of own.NAME
_N_SEEDS = 3  # for each K of a range
_SHOWN = 20  # values of K in the table on the screen
_DRAWN_WITH = ("matplotlib", "openTSNE")
_SPOKEN = "n_clusters|image_shape|columns|index|header|separator|encoding|compression|scale|array"  # by the reader
_PLAIN = {"null": None, "none": None, "true": True, "false": False}


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Have each warning of a library as one line, once."""
    told = set[str]()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if (text := " ".join(str(message).split())) not in told:
            told.add(text)
            _log.warning("%s", text)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Have SIGTERM, a scheduler's or a shutdown's, end the command as Ctrl-C does: half a folder does not stay."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@_sigterm_as_ctrl_c()
@_warnings_in_a_line()
def cluster(asked: argparse.Namespace) -> None:
    """Cluster DATA and write the folder of results, whole or not at all."""
    from deepclust import selection

    _require_text(asked)
    cls, given = methods.describe(asked.method), _settings(asked.method, asked.settings)
    if not 1 <= asked.threads <= 1024 or not 0 <= asked.seed < 2**32:
        raise UserError(f"--threads must be in [1, 1024] and --seed in [0, 2^32), got {asked.threads} and {asked.seed}")
    wanted = _clusters(asked.n_clusters)
    seeds = _seeds(asked, wanted)
    _require_settings(cls, given, asked.device)
    folder = Path(asked.out or f"{Path(asked.data).name.split('.')[0] or 'data'}-{asked.method}")
    folder = room(folder, Path(asked.data), force=asked.force)
    half = folder.with_name(f".{secrets.token_hex(4)}.tmp")
    kept, old = None, half.with_suffix(".old")
    try:
        data, read = _read(asked, wanted)
        ranges = {"feature": ", each scaled by its own range", "global": ", scaled by the range of all"}
        about = f"{len(data.X):,} samples, {data.X.shape[1]:,} features in [0, 1]{ranges.get(read['scale'], '')}"
        say(f"{Path(asked.data).name}: {about}")
        if _looks_like_a_graph(data.X):
            say("  symmetric, with one value on the diagonal, as distances or a graph's weights are; rows are read as")
            say("  samples. A graph needs a grid, with `edges: true` (docs/own-data.md)")
        graph = _graph(data.X) if cls.reads_graph or len(data.X) <= selection.LARGEST_GRAPH else None
        swept, selected = None, dict[str, Any]()
        counts = wanted if isinstance(wanted, range) else range(0)
        if counts:
            selected = {"by": selection.RULE, "range": f"{counts[0]}-{counts[-1]}"}
        elif wanted == "auto":
            found = _suggest(data, graph)
            asked.n_clusters, selected = found.n_clusters, {"by": "modularity", "tried": found.tried}
        else:
            asked.n_clusters = wanted
        if counts or len(seeds) > 1:
            kept = _Kept(kept_beside(folder), _key(asked, data, given))
            swept = _sweep(asked, data, given, graph, counts, seeds, kept)
            asked.n_clusters, method = swept.n_clusters, swept.method
            selected |= {"seeds": list(seeds)} | _show_consensus(swept)
            method.labels_ = swept.consensus.labels
        else:
            method = _fit(asked, data, given, graph)
        scores = _scores(data, method.labels_, graph)
        _write(half, asked, data, read, method, scores, selected, swept)
        folder = _place(half, folder, old, asked)
    except (KeyboardInterrupt, OSError) as error:
        done = "nothing was written"
        if kept:
            done = f"{len(kept)} fits are kept in {kept.base}, and the same command goes on from there"
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(done) from None
        error.add_note(f"({done})")
        raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    if kept is not None:
        kept.discard()
    _summarise(folder, asked, method.labels_, scores)


@_warnings_in_a_line()
def label(asked: argparse.Namespace) -> None:
    """Write the clusters of more samples, under a fit that `cluster` has written."""
    import pandas as pd

    from deepclust.datasets import _own
    from deepclust.reporting.aggregate import write_csv

    folder, path = Path(asked.results), Path(asked.data)
    record = _record_of(folder)
    out = Path(asked.out or f"{path.name.split('.')[0] or 'data'}-labels.csv")
    if out.exists() or not out.parent.is_dir():
        why = "is there already" if out.exists() else "lies in no folder"
        raise UserError(f"{out} {why}; name another file with --out")
    if not path.exists():
        raise UserError(f"{path} does not exist; correct the path")
    kinds = [_own.format_of(name) or "folder" for name in (record["data"]["path"], path)]
    if kinds[0] != kinds[1]:
        raise UserError(f"{path} must be a {kinds[0]}, as the data of the fit were, and is a {kinds[1]}; convert it")
    try:
        with _reader_in_options():
            X, names = _own.more(_NAME, path, **read_json(folder / SAMPLES))
    except UserError as error:
        raise UserError(_in_options(str(error))) from None
    method = methods.restore(folder / MODEL)
    beyond = int(((X < 0) | (X > 1)).any(axis=1).sum())
    if beyond:
        say(f"{path.name}: {beyond:,} of {len(X):,} samples have values outside the range of the fit")
    with execution.surroundings(type(method), record["threads"], "float32", None, sys.stderr.isatty()):
        labels = method.predict(X)
    write_csv(out, pd.DataFrame({"sample": names or range(len(labels)), "cluster": labels}))
    say(f"{path.name}: clusters of {_listed(np.bincount(labels, minlength=method.n_clusters))} samples, in {out}")


def _record_of(folder: Path) -> dict[str, Any]:
    """Return the run.json of a folder whose method can label new samples."""
    try:
        record: dict[str, Any] = read_json(folder / RECORD)
        name = record["method"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{folder} holds no results of `deepclust cluster`; name its folder") from None
    if not (folder / MODEL).is_dir():
        why = methods.describe(name).why_no_predict
        why = f"{name} cannot label new samples: {why}" if why else "it has no fitted method"
        raise UserError(f"{folder}: {why}; cluster by another method, and with one seed")
    return record


# ------------------------------------------------------------------------------------------------------------- reading


def _clusters(text: str) -> int | range | str:
    """Return K, the values of a range, or "auto"."""
    if text == "auto":
        return text
    if re.fullmatch(r"[1-9]\d{0,8}", text):
        return int(text)
    ends = re.fullmatch(r"(\d{1,9})-(\d{1,9})", text)
    if not ends:
        raise UserError(f"-k must be a number in [1, 10^9), a range such as 2-12, or auto; got {text[:30]}")
    first, last = map(int, ends.groups())
    if not 2 <= first <= last:
        raise UserError(f"-k {text}: a range begins at 2 or more and does not end below that, such as 2-12")
    return range(first, last + 1)


def _seeds(asked: argparse.Namespace, wanted: int | range | str) -> range:
    """Return the seeds of each K: of a range several unless told otherwise, of one K a single one."""
    count = (_N_SEEDS if isinstance(wanted, range) else 1) if asked.seeds is None else asked.seeds
    if count < 1 or asked.seed + count > 2**32:
        raise UserError(f"--seeds must be at least 1, and --seed + --seeds at most 2^32, got {count} from {asked.seed}")
    return range(asked.seed, asked.seed + count)


def _require_text(asked: argparse.Namespace) -> None:
    """Raise UserError for a word of the command line that would not fit in a line of the results."""
    from deepclust.datasets._own.content import is_text

    if empty := [name for name, value in vars(asked).items() if value == ""]:
        option = "DATA" if empty[0] == "data" else f"--{empty[0].replace('_', '-')}"
        raise UserError(f"{option} is empty; give a value, or leave it out if it is an option")
    words = {name: value for name, value in vars(asked).items() if name != "separator"}  # which may be a tab
    for value in (*words.values(), *asked.settings):
        if isinstance(value, str) and not is_text(value):
            raise UserError(f"{value!a} is not UTF-8 or holds a line break or control character; rename it")


def _read(asked: argparse.Namespace, wanted: int | range | str) -> tuple[Any, dict[str, Any]]:
    """Return the `Dataset` at DATA and how it was read; faults are told in the words of this command.

    The reader holds K against the number of classes. Where K is yet to be found, that number stands for it.
    """
    from deepclust.config.schema import Own, validated
    from deepclust.datasets import _own

    path = Path(asked.data)
    if not path.exists():
        raise UserError(f"{path} does not exist; correct the path")
    if not (path.is_file() or path.is_dir()):
        raise UserError(f"{path} is neither a file nor a folder; save what it gives as a file first")
    kind = _own.format_of(path)
    settings: dict[str, Any] = {
        "path": str(path),
        "n_clusters": wanted if isinstance(wanted, int) else 1,
        "scale": asked.scale,
        "columns": next(csv.reader([asked.columns])) if asked.columns else None,
        "array": asked.array,
        "labels": asked.labels,
        "index": True if asked.index == "true" else asked.index or False,
        "header": None if asked.header is None else asked.header == "true",
        "separator": asked.separator.replace("\\t", "\t") if asked.separator else None,
        "encoding": asked.encoding,
        "compression": asked.compression,
        "image_shape": _numbers(asked.image_shape) if asked.image_shape else None,
    }
    if asked.scale is None and (kind or asked.array):
        settings["scale"] = "feature" if kind in _own.TABLES else "global"
    try:
        own = validated(Own, settings, "").model_dump(exclude={"path"})
        with _reader_in_options():
            data = _own.prepare(_NAME, path, **own | ({} if isinstance(wanted, int) else {"n_clusters": None}))
    except UserError as error:
        raise UserError(_in_options(str(error))) from None
    if isinstance(wanted, range) and wanted[-1] >= len(data.X):
        end = f"its {len(data.X):,} samples less one"
        raise UserError(f"-k {asked.n_clusters}: a range ends at {len(data.X) - 1} for {path.name} at most, {end}")
    return data, own | {"n_clusters": data.n_clusters}


@contextmanager
def _reader_in_options() -> Iterator[None]:
    """Have what the reader logs in the words of this command."""

    def reworded(record: logging.LogRecord) -> bool:
        record.msg, record.args = _in_options(record.getMessage()), ()
        return True

    readers = [logging.getLogger(f"deepclust.datasets._own{module}") for module in ("", ".arrays", ".tables")]
    for reader in readers:
        reader.addFilter(reworded)
    try:
        yield
    finally:
        for reader in readers:
            reader.removeFilter(reworded)


def _numbers(text: str) -> list[int]:
    if not re.fullmatch(r"\d+,\d+,\d+", text):
        raise UserError(f"--image-shape must be channels,height,width, such as 1,28,28; got {text}")
    return [int(part) for part in text.split(",")]


def _looks_like_a_graph(X: np.ndarray) -> bool:
    """Return whether X (N, D) is a symmetric matrix, or one of distances whose columns were scaled by their maxima."""
    n_samples, n_features = X.shape
    if n_samples != n_features or n_samples < 3 or np.ptp(X.diagonal()):
        return False
    with np.errstate(divide="ignore", invalid="ignore"):
        maxima = X[:, 0] / X[0]  # in units of the first column's, since d_0j = d_j0
    maxima[0] = 1
    return np.array_equal(X, X.T) or np.allclose(X * maxima, (X * maxima).T, rtol=1e-4, atol=0)


def _in_options(message: str) -> str:
    """Return a message of the reader, whose settings are keys of params.yaml, with the options of this command."""
    message = re.sub(r", got \{.*\}$", "", message)  # all options at once
    message = re.sub(rf"^own\.{_NAME}: ", "", message)
    ahead = rf"^own\.{_NAME}\.|^data set '{_NAME}': |^(?=image_shape(?: is| of|\.\d))"
    message = re.sub(rf"({ahead})({_SPOKEN})\b(: |=)?", _as_option, message)
    parts = re.split(r"('[^']*')", message)  # what is quoted is the user's, as is a file of such a name
    inside = rf"(\b(?:under|set|smaller|(?<!rows )or|leave) )({_SPOKEN})\b(?!\.\w)(: |=)?"
    parts[::2] = (re.sub(inside, _as_option, part) for part in parts[::2])
    return "".join(parts)


def _as_option(found: re.Match[str]) -> str:
    ahead = "" if found[1].startswith(("own.", "data set")) else found[1]
    option = "-k" if found[2] == "n_clusters" else f"--{found[2].replace('_', '-')}"
    return f"{ahead}{option}{' ' if found[3] else ''}"


# ------------------------------------------------------------------------------------------------------------- fitting


def _settings(method: str, words: list[str]) -> dict[str, Any]:
    """Return the settings of NAME=VALUE words, those of the network under `pretraining`."""
    cls = methods.describe(method)
    allowed = [name for name in names_of(cls) if name not in APART]
    found: dict[str, Any] = {}
    ways = [next((word for word in words if word.startswith(f"pretraining{sign}")), None) for sign in "=."]
    if all(ways):
        raise UserError(f"--set {' and --set '.join(map(str, ways))} are two ways to say one thing; take one of them")
    for word in words:
        name, equals, text = word.partition("=")
        owner, dot, key = name.partition(".")
        if not equals or (dot and (owner != "pretraining" or "pretraining" not in allowed)):
            raise UserError(f"--set takes NAME=VALUE, or pretraining.NAME=VALUE where a network is trained; got {word}")
        if owner not in allowed:
            raise UserError(f"'{owner}' is not a setting of {method}; it takes {', '.join(allowed)}")
        if dot:
            found.setdefault("pretraining", {})[key] = _value(text)
        else:
            found[name] = _value(text)
    return found


def _require_settings(cls: Any, given: dict[str, Any], device: str) -> None:
    """Raise UserError, before anything is read, for a value that the fit would refuse."""
    for option, name, value in [("--", "device", device), *(("--set ", *item) for item in given.items())]:
        try:
            checked(cls, name, value)
        except UserError as error:
            raise UserError(f"{option}{error}") from None
    if device not in ("auto", "cpu") and execution.trains(cls):
        from deepclust.training.runtime import resolve_device

        resolve_device(device)
    if of_network := dict(given.get("pretraining") or {}):
        default = cls.default_network  # in whose place mlp reads what is no image
        usual = [default, "mlp"] if nets.describe(default).needs_images else [default]
        names = [of_network.pop("network")] if "network" in of_network else usual
        if all(faults := [_fault_of_network(name, of_network) for name in names]):
            raise UserError(f"--set pretraining: {faults[0]}")


def _fault_of_network(name: str, settings: dict[str, Any]) -> str | None:
    try:
        nets.make(name, settings)
    except UserError as error:
        return str(error)
    return None


def _value(text: str) -> Any:
    """Return a number, a list, true, false or null as YAML has them; any other text as it is."""
    if text.lower() in _PLAIN:
        return _PLAIN[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        number = float(text)  # 1e-3 is JSON, .5 and 1. are not
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _fit(asked: argparse.Namespace, data: Any, given: dict[str, Any], graph: Any) -> Any:
    """Return the fitted method. Images pretrain their network as images; the labels stay behind."""
    from deepclust.selection import pretrained

    with _fitting(asked, data, given, graph) as (method, inputs):
        if method.default_network and data.image_shape:
            inputs["network"] = pretrained(method, data.X, data.image_shape)
        return method.set_params(n_clusters=asked.n_clusters).fit(data.X, **inputs)


@contextmanager
def _fitting(
    asked: argparse.Namespace, data: Any, given: dict[str, Any], graph: Any
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield the method, K aside, and the graph as its input where it reads one; say in a line why a fit ended early."""
    cls = methods.load(asked.method)
    method = cls(random_state=asked.seed, device=asked.device, **given)
    if cls.default_network and not data.image_shape and nets.describe(cls.default_network).needs_images:
        say(f"{asked.method} has a network for images by its paper; these are none, and it reads the network mlp")
    try:
        with execution.surroundings(cls, asked.threads, "float32", None, sys.stderr.isatty()):
            yield method, {"graph": graph} if cls.reads_graph and "n_neighbors" not in given else {}
    except (SeedFailed, NotApplicable) as error:
        raise UserError(f"{asked.method}: {error}") from error


# ------------------------------------------------------------------------------------------------------ choosing K


def _suggest(data: Any, graph: Any) -> Any:
    """Return the K of highest modularity on the graph, and say which others come near."""
    from deepclust.selection import LARGEST_GRAPH, suggest_n_clusters

    if graph is None:
        raise UserError(f"-k auto reads the exact graph of neighbours, for {LARGEST_GRAPH:,} samples at most; give K")
    found = suggest_n_clusters(data.X, graph=graph)
    clusters = "1 cluster has" if found.n_clusters == 1 else f"{found.n_clusters} clusters have"
    say(f"-k auto: {clusters} the highest modularity, {found.modularity:.4f}")
    say(f"  next: {', '.join(f'{K} with {found.tried[K]:.4f}' for K in found.runners_up[:4])}")
    return found


def _sweep(
    asked: argparse.Namespace,
    data: Any,
    given: dict[str, Any],
    graph: Any,
    counts: range,
    seeds: range,
    kept: "_Kept",
) -> Any:
    """Return the `Sweep` over a range of K, which is shown, or over the seeds of one K where the range is empty."""
    from deepclust.selection import sweep

    if not counts and not 2 <= asked.n_clusters < len(data.X):
        raise UserError(
            f"--seeds {len(seeds)} is for -k from 2 to {len(data.X) - 1}, all but one of the samples, and not for "
            f"{asked.n_clusters}, where seeds cannot differ; leave --seeds out"
        )
    with _fitting(asked, data, given, graph) as (method, inputs):
        W = inputs.get("graph") if method.reads_graph else graph
        tried = counts or [asked.n_clusters]
        found = sweep(method, data.X, tried, seeds=seeds, graph=W, image_shape=data.image_shape, finished=kept)
    if counts:
        _show(found, f"{counts[0]}-{counts[-1]}", len(seeds))
    return found


def _show(swept: Any, counts: str, n_seeds: int) -> None:
    """Say which K was chosen and how, what the other criteria would choose, and the means over the seeds."""
    from deepclust.reporting.tables import CRITERIA_HEADINGS, number

    best = swept.best
    means = swept.table.groupby("n_clusters")[list(best)].mean()
    broken, single = int((swept.table["failed"] != "").sum()), int((swept.table["n_clusters_found"] == 1).sum())
    over = f"{n_seeds} seed{'s' if n_seeds > 1 else ''}"
    say(f"-k {counts}: {swept.n_clusters} clusters, the fewest within a standard error of the best silhouette ({over})")
    rows = [[" ", "K", *(CRITERIA_HEADINGS[name] for name in best)]]
    for K in means.index if len(means) <= _SHOWN else sorted(set(best.values())):
        values = [f"{number(means[name][K], decimals=3)}{' *' if best[name] == K else ''}" for name in best]
        rows.append([">" if swept.n_clusters == K else " ", str(K), *values])
    for line in aligned(rows):
        say(line)
    notes = ["* by the same rule, each criterion by itself"]
    notes += ["the other K are in sweep.csv"] if len(means) > _SHOWN else []
    notes += [f"{broken} fits broke down"] if broken else []
    notes += [f"{single} fits found a single cluster, and have no criteria"] if single else []
    say(f"  {'; '.join(notes)}")


def _show_consensus(swept: Any) -> dict[str, float]:
    """Say how far the seeds at the chosen K agree, and return the share of samples on which all of them do.

    Nothing is said, and nothing returned, of a single seed.
    """
    here = swept.table[swept.table["n_clusters"] == swept.n_clusters]
    broken = here["failed"][here["failed"] != ""]
    if len(broken):
        say(f"{len(broken)} of {len(here)} seeds broke down: {broken.iloc[0]}")
    single = int((here["n_clusters_found"] == 1).sum())
    n_seeds, them = len(here) - len(broken), "them"
    if 0 < single < n_seeds:
        say(f"{single} of {len(here)} seeds found a single cluster, and have no vote")
        n_seeds, them = n_seeds - single, f"all {n_seeds}"
    if n_seeds < 2:
        return {}
    agreed = float((swept.consensus.agreement == 1).mean())
    say(f"the clusters are the consensus of {n_seeds} seeds, which agree on {agreed:.1%} of the samples; the adjusted")
    say(f"  Rand index between two of {them} is {here['stability'].mean():.3f} on average")
    return {"agreed": agreed}


class _Kept(dict[tuple[int, int], np.ndarray]):
    """Labels by (K, seed) that are files, too, from which the same command goes on after Ctrl-C.

    The files lie in `base`, in a folder named for `key`, what the labels depend on: those of other data, settings or
    code are not read. All such folders go with `discard`, and nothing else that lies there.
    """

    def __init__(self, base: Path, key: Mapping[str, Any]) -> None:
        super().__init__()
        self.base = base
        self._folder = base / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        for path in sorted(self._folder.glob("*.npy")):
            if found := re.fullmatch(r"(\d+)-(\d+)", path.stem):
                try:
                    super().__setitem__((int(found[1]), int(found[2])), read_array(path))
                except (ValueError, EOFError):
                    say(f"{path} is damaged: its fit is made again")

    def __setitem__(self, at: tuple[int, int], labels: np.ndarray) -> None:
        write_array(self._folder / f"{at[0]}-{at[1]}.npy", labels)
        super().__setitem__(at, labels)

    def discard(self) -> None:
        """Remove the folders of labels, and `base` if nothing else is in it."""
        for folder in self.base.glob("[0-9a-f]" * 16):
            shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            self.base.rmdir()


def _key(asked: argparse.Namespace, data: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Return what the labels of a fit depend on beside K and the seed, as JSON has it."""
    modules = [methods.module(asked.method), *map(nets.module, nets.names())]
    modules += ["deepclust.selection", "deepclust.execution", execution.FOR_TRAININGS]
    run = {"method": asked.method, "settings": given, "device": asked.device, "threads": asked.threads}
    run |= {
        "code": digest_of(code_of([], modules, as_it_is=True)),
        "instructions": os.environ.get(instructions.VARIABLE),
    }
    run |= {"versions": versions("numpy", "scipy", "scikit-learn", "torch")}
    shape = list(data.image_shape) if data.image_shape else None
    return run | {"data": replace(data, y=None).digest, "image_shape": shape}


# ------------------------------------------------------------------------------------------------------------- judging


def _graph(X: np.ndarray) -> Any:
    """Return the weights of the nearest neighbours, as the pipeline's graph stage makes them by default."""
    from deepclust.methods._graph_cuts import neighbour_graph
    from deepclust.selection import N_NEIGHBORS

    return neighbour_graph(X, N_NEIGHBORS)


def _scores(data: Any, labels: np.ndarray, graph: Any) -> dict[str, float]:
    """Return the metrics by their names: external ones where there are labels, modularity where there is a graph."""
    import scipy.sparse as sp

    from deepclust.metrics import external, internal
    from deepclust.selection import widened

    W = sp.csr_matrix((len(labels), len(labels))) if graph is None else graph
    found = internal(widened(data.X), W, labels)
    if graph is None:
        del found["modularity"]
    return ({} if data.y is None else external(data.y, labels)) | found


# ------------------------------------------------------------------------------------------------------------- writing


def _write(
    folder: Path,
    asked: argparse.Namespace,
    data: Any,
    read: dict[str, Any],
    method: Any,
    scores: dict[str, float],
    selected: dict[str, Any],
    swept: Any,
) -> None:
    import pandas as pd

    from deepclust import results
    from deepclust.reporting import html
    from deepclust.reporting.aggregate import write_csv

    labels = method.labels_
    table = pd.DataFrame({"sample": data.samples or range(len(labels)), "cluster": labels})
    if "agreed" in selected:
        table["agreement"] = swept.consensus.agreement
    write_csv(folder / "labels.csv", table)
    settings = {name: as_plain(value) for name, value in method.get_params(deep=False).items() if name != "verbose"}
    record = {
        "command": shlex.join(["deepclust", *sys.argv[1:]]),
        "deepclust": __version__,
        "data": {"path": asked.data, "digest": replace(data, y=None).digest, "n_samples": len(data.X)},
        "read": {name: value for name, value in read.items() if value is not None and name != "n_clusters"},
        "method": asked.method,
        "settings": settings,
        **({"selection": selected} if selected else {}),
        "scores": scores,
        **results.write(method, folder / "files"),
        "threads": asked.threads,
    }
    if hasattr(method, "predict") and "agreed" not in selected:  # a consensus is not the labels of one fit
        method.save(folder / MODEL)
        kept = ("array", "index", "header", "separator", "encoding", "compression")
        more = {name: read[name] for name in kept} | {"columns": data.columns or None, "image_shape": data.image_shape}
        more |= {"n_features": data.X.shape[1], "bounds": data.bounds}
        write_json(folder / SAMPLES, more)
    if swept:
        write_csv(folder / "sweep.csv", swept.table)
    try:
        captions = _draw(folder, asked, data, method, swept)
    except OSError:
        raise
    except Exception as error:  # the fit is worth more than its figures
        captions = {}
        say(f"no more figures: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    record = json.loads(to_json(record))  # plain values, for the page as for the file
    write_json(folder / RECORD, record | {"files": sorted([*files, RECORD, PAGE])})
    sizes = np.bincount(labels, minlength=asked.n_clusters)
    title = f"{Path(asked.data).name}: {asked.n_clusters} clusters by {asked.method}"
    write_text(folder / PAGE, html.fit_page(title, folder, scores, sizes.tolist(), captions, record))


def _place(half: Path, folder: Path, old: Path, asked: argparse.Namespace) -> Path:
    """Give finished results their name, and what stood there another, `old`; return where the results are.

    At each moment one whole set of results stands. A folder that came to be while the fit ran stays: the results take
    the next free name.
    """
    try:
        room(folder, Path(asked.data), force=asked.force)
    except UserError:
        number = next(n for n in itertools.count(2) if not folder.with_name(f"{folder.name}-{n}").exists())
        taken, folder = folder, folder.with_name(f"{folder.name}-{number}")
        say(f"{taken} came to be while the fit ran; the results are in {folder}")
    try:
        if folder.exists():
            folder.rename(old)
        half.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    return folder


def _summarise(folder: Path, asked: argparse.Namespace, labels: np.ndarray, scores: dict[str, float]) -> None:
    """Say how large the clusters are, how they score, and where everything is."""
    from deepclust.reporting.html import shown_scores

    sizes = np.bincount(labels, minlength=asked.n_clusters)
    empty = f"; {(sizes == 0).sum()} of {len(sizes)} are empty" if (sizes == 0).any() else ""
    say(f"{asked.method}: clusters of {_listed(sizes)} samples{empty}")
    for line in aligned([f"  {name}", value] for name, value in shown_scores(scores).items()):
        say(line)
    places = {"labels.csv": "the cluster of every sample", "index.html": "the page", "figures/tsne.png": "the map"}
    places |= {"sweep.csv": "the criteria of every K and seed", "figures/criteria.png": "their means over K"}
    for line in aligned([str(folder / name), what] for name, what in places.items() if (folder / name).exists()):
        say(line)


def _listed(sizes: np.ndarray) -> str:
    shown = [f"{size:,}" for size in sizes[:12]]
    return ", ".join(shown) + (", ..." if len(sizes) > 12 else "")


def _draw(folder: Path, asked: argparse.Namespace, data: Any, method: Any, swept: Any) -> dict[str, str]:
    """Draw the figures of a cell, a map among them, and the criteria of a sweep over K.

    Return their captions by their stems, none without matplotlib.
    """
    if missing := [name for name in _DRAWN_WITH if importlib.util.find_spec(name) is None]:
        say(f"no map and no figures: {' and '.join(missing)} missing; the extra `pipeline` brings both")
        return {}
    import pandas as pd

    from deepclust.reporting import figures
    from deepclust.reporting.finished import Cell

    seed = method.random_state
    traces = {seed: pd.DataFrame(method.trace_)} if getattr(method, "trace_", None) else {}
    name = Path(asked.data).name.replace("$", r"\$")  # which begins a formula in a title
    run = Cell(name, asked.method, data.X, data.y, data.image_shape, asked.n_clusters, seed, folder / "files", traces)
    images, pages = folder / "figures", folder / "files/figures"
    drawn = figures.draw("cell", run, images, pages)
    order = sorted(drawn, key=lambda stem: (stem != "tsne", stem != "confusion", stem))
    captions = {f"figures/{stem}": (inspect.getdoc(drawn[stem]) or "").splitlines()[0] for stem in order}
    if swept and swept.table["n_clusters"].nunique() > 1:
        from deepclust.reporting.figures import _criteria

        title = f"{asked.method} on {name}"
        files = images / "criteria.png", pages / "criteria.pdf"
        _criteria.save(swept.table, swept.best, swept.n_clusters, title, *files)
        captions["figures/criteria"] = (inspect.getdoc(_criteria) or "").splitlines()[0]
    return captions
