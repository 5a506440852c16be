"""The command `cluster`: own data read, clustered by one method, scored, drawn and written into a folder."""

import argparse
import importlib.util
import inspect
import json
import logging
import math
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepclust import __version__, execution, methods, nets
from deepclust.cli._lines import aligned, say
from deepclust.cli.catalogue import APART
from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.settings import as_plain, names_of

_NAME = "data"  # in messages of the reader, which speak of own.NAME
_LARGEST_GRAPH = 100_000  # samples; beyond, the exact graph of neighbours takes minutes to hours
_N_NEIGHBORS = 10
_DRAWN_WITH = ("matplotlib", "openTSNE")
_PLAIN = {"null": None, "none": None, "true": True, "false": False}


def cluster(asked: argparse.Namespace) -> None:
    """Cluster DATA and write the folder of results, whole or not at all."""
    cls, given = methods.describe(asked.method), _settings(asked.method, asked.settings)
    if asked.threads < 1 or not 0 <= asked.seed < 2**32:
        raise UserError(f"--threads must be at least 1 and --seed in [0, 2^32), got {asked.threads} and {asked.seed}")
    folder = Path(asked.out or f"{Path(asked.data).name.split('.')[0] or 'data'}-{asked.method}")
    _require_room(folder, force=asked.force)
    half = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        data, read = _read(asked)
        ranges = {"feature": ", each scaled by its own range", "global": ", scaled by the range of all"}
        about = f"{len(data.X):,} samples, {data.X.shape[1]:,} features in [0, 1]{ranges.get(read['scale'], '')}"
        say(f"{Path(asked.data).name}: {about}")
        graph = _graph(data.X) if cls.reads_graph or len(data.X) <= _LARGEST_GRAPH else None
        method = _fit(asked, data, given, graph)
        scores = _scores(data, method.labels_, graph)
        _write(half, asked, data, read, method, scores)
        if folder.exists():
            shutil.rmtree(folder)
        half.rename(folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was written") from None
    finally:
        shutil.rmtree(half, ignore_errors=True)
    _summarise(folder, asked, method.labels_, scores)


# ------------------------------------------------------------------------------------------------------------- reading


def _read(asked: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """Return the `Dataset` at DATA and how it was read; faults are told in the words of this command."""
    from deepclust.config.schema import Own, validated
    from deepclust.datasets import _own

    path = Path(asked.data)
    if not path.exists():
        raise UserError(f"{path} does not exist; correct the path")
    kind = _own.format_of(path)
    settings: dict[str, Any] = {
        "path": str(path),
        "n_clusters": asked.n_clusters,
        "scale": asked.scale,
        "columns": asked.columns.split(",") if asked.columns else None,
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
    for reader in ("", ".arrays"):
        logging.getLogger(f"deepclust.datasets._own{reader}").addFilter(_reword)
    try:
        own = validated(Own, settings, "").model_dump(exclude={"path"})
        return _own.prepare(_NAME, path, **own), own
    except UserError as error:
        raise UserError(_in_options(str(error))) from None


def _reword(record: logging.LogRecord) -> bool:
    record.msg, record.args = _in_options(record.getMessage()), ()
    return True


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--image-shape must be channels,height,width, such as 1,28,28; got {text}") from None


def _in_options(message: str) -> str:
    """Return a message of the reader, whose settings are keys of params.yaml, with the options of this command."""
    message = re.sub(r", got \{.*\}$", "", message)  # all options at once
    message = re.sub(rf"^(data set '{_NAME}'|own\.{_NAME}): ", "", message).replace(f"own.{_NAME}.", "")
    message = re.sub(r"\bn_clusters(=|: )(\d+)", r"-k \2", message).replace("n_clusters", "-k")
    message = re.sub(r"\b(index|header|separator|encoding|compression|scale): (\S+)", r"--\1 \2", message)
    names = "columns|index|header|separator|encoding|compression|array|labels"
    message = re.sub(rf"\b(under|set) ({names})\b", r"\1 --\2", message)
    return message.replace("image_shape", "--image-shape").replace("set scale", "set --scale")


# ------------------------------------------------------------------------------------------------------------- fitting


def _settings(method: str, words: list[str]) -> dict[str, Any]:
    """Return the settings of NAME=VALUE words, those of the network under `pretraining`."""
    cls = methods.describe(method)
    allowed = [name for name in names_of(cls) if name not in APART]
    found: dict[str, Any] = {}
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
    cls = methods.load(asked.method)
    method = cls(asked.n_clusters, random_state=asked.seed, device=asked.device, **given)
    inputs: dict[str, Any] = {"graph": graph} if cls.reads_graph and "n_neighbors" not in given else {}
    with _ending(asked.method), execution.surroundings(cls, asked.threads, "float32", None, sys.stderr.isatty()):
        if cls.default_network and data.image_shape:
            inputs["network"] = _pretrained(cls, method, data)
        elif cls.default_network and nets.describe(cls.default_network).needs_images:
            say(f"{asked.method} has a network for images by its paper; these are none, and it reads the network mlp")
        method.fit(data.X, **inputs)
    return method


def _pretrained(cls: Any, method: Any, data: Any) -> Any:
    """Return the network of a method, pretrained on images."""
    from deepclust.seeding import derive_seed
    from deepclust.training.pretrain import pretrain
    from deepclust.training.rows import on_device

    settings = {"network": cls.default_network} | (method.pretraining or {})
    network = nets.make(settings.pop("network"), settings)
    seed = derive_seed(method.random_state, "pretrain")
    return pretrain(on_device(data.X, method.device), network, seed=seed, image_shape=data.image_shape)[0]


@contextmanager
def _ending(method: str) -> Iterator[None]:
    """Say in a line why a fit ended early."""
    try:
        yield
    except (SeedFailed, NotApplicable) as error:
        raise UserError(f"{method}: {error}") from error


# ------------------------------------------------------------------------------------------------------------- judging


def _graph(X: np.ndarray) -> Any:
    """Return the weights of the nearest neighbours, as the pipeline's graph stage makes them by default."""
    from deepclust.methods._graph_cuts import neighbour_graph

    return neighbour_graph(X, _N_NEIGHBORS)


def _scores(data: Any, labels: np.ndarray, graph: Any) -> dict[str, float]:
    """Return the metrics by their names: external ones where there are labels, modularity where there is a graph."""
    import scipy.sparse as sp

    from deepclust.metrics import external, internal

    W = sp.csr_matrix((len(labels), len(labels))) if graph is None else graph
    found = internal(data.X.astype(np.float32, copy=False), W, labels)
    if graph is None:
        del found["modularity"]
    return ({} if data.y is None else external(data.y, labels)) | found


# ------------------------------------------------------------------------------------------------------------- writing


def _require_room(folder: Path, *, force: bool) -> None:
    """Raise UserError for a folder in which something stands, unless it may be replaced and is of this command."""
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (force and (folder / "run.json").exists())):
        remedy = "--force replaces results of this command" if (folder / "run.json").exists() else "it is not theirs"
        raise UserError(f"{folder} is there already; name another place for the results with --out ({remedy})")


def _write(
    folder: Path, asked: argparse.Namespace, data: Any, read: dict[str, Any], method: Any, scores: dict[str, float]
) -> None:
    import pandas as pd

    from deepclust import results
    from deepclust.files import write_json, write_text
    from deepclust.reporting import html
    from deepclust.reporting.aggregate import write_csv

    labels = method.labels_
    write_csv(folder / "labels.csv", pd.DataFrame({"sample": data.samples or range(len(labels)), "cluster": labels}))
    settings = {name: as_plain(value) for name, value in method.get_params(deep=False).items() if name != "verbose"}
    record = {
        "command": " ".join(["deepclust", *sys.argv[1:]]),
        "deepclust": __version__,
        "data": {"path": asked.data, "digest": replace(data, y=None).digest, "n_samples": len(data.X)},
        "read": {name: value for name, value in read.items() if value is not None and name != "n_clusters"},
        "method": asked.method,
        "settings": settings,
        "scores": scores,
        **results.write(method, folder / "files"),
        "threads": asked.threads,
    }
    captions = _draw(folder, asked, data, method)
    write_json(folder / "run.json", record)
    sizes = np.bincount(labels, minlength=asked.n_clusters)
    title = f"{Path(asked.data).name}: {asked.n_clusters} clusters by {asked.method}"
    write_text(folder / "index.html", html.fit_page(title, folder, scores, sizes.tolist(), captions, record))


def _summarise(folder: Path, asked: argparse.Namespace, labels: np.ndarray, scores: dict[str, float]) -> None:
    """Say how large the clusters are, how they score, and where everything is."""
    from deepclust.reporting.html import shown_scores

    sizes = np.bincount(labels, minlength=asked.n_clusters)
    empty = f"; {(sizes == 0).sum()} of {len(sizes)} are empty" if (sizes == 0).any() else ""
    say(f"{asked.method}: clusters of {_listed(sizes)} samples{empty}")
    for line in aligned([f"  {name}", value] for name, value in shown_scores(scores).items()):
        say(line)
    places = {"labels.csv": "the cluster of every sample", "index.html": "the page", "figures/tsne.png": "the map"}
    for line in aligned([str(folder / name), what] for name, what in places.items() if (folder / name).exists()):
        say(line)


def _listed(sizes: np.ndarray) -> str:
    shown = [f"{size:,}" for size in sizes[:12]]
    return ", ".join(shown) + (", ..." if len(sizes) > 12 else "")


def _draw(folder: Path, asked: argparse.Namespace, data: Any, method: Any) -> dict[str, str]:
    """Draw the figures of a cell, a map among them; return their captions by their stems, none without matplotlib."""
    if missing := [name for name in _DRAWN_WITH if importlib.util.find_spec(name) is None]:
        say(f"no map and no figures: {' and '.join(missing)} missing; the extra `pipeline` brings both")
        return {}
    import pandas as pd

    from deepclust.reporting import figures
    from deepclust.reporting.finished import Cell

    traces = {asked.seed: pd.DataFrame(method.trace_)} if getattr(method, "trace_", None) else {}
    name = Path(asked.data).name
    run = Cell(
        name, asked.method, data.X, data.y, data.image_shape, asked.n_clusters, asked.seed, folder / "files", traces
    )
    images, pages = folder / "figures", folder / "files/figures"
    drawn = figures.draw("cell", run, images, pages)
    order = sorted(drawn, key=lambda stem: (stem != "tsne", stem != "confusion", stem))
    return {f"figures/{stem}": (inspect.getdoc(drawn[stem]) or "").splitlines()[0] for stem in order}
