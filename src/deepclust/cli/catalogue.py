"""Lists of what there is: methods with their settings, and published data sets; nothing heavy is loaded."""

import argparse
import inspect
from typing import Any, Literal, get_args, get_origin, get_type_hints

from deepclust.cli._lines import aligned, say
from deepclust.settings import defaults_of, meanings_of

APART = ("n_clusters", "random_state", "device", "verbose")  # settings of a method that have options of their own


def methods(asked: argparse.Namespace) -> None:
    """List all methods, or show the one asked for."""
    from deepclust import methods

    if asked.name:
        _show(asked.name, methods.describe(asked.name))
        return
    rows = [("NAME", "PREDICTS", "READS", "METHOD")]
    for name in methods.names():
        cls = methods.describe(name)
        predicts = "no" if cls.why_no_predict else "yes"
        rows.append((name, predicts, _reads(cls), f"{_first_line(cls)} ({cls.paper})"))
    for line in aligned(rows):
        say(line)
    say()
    say("PREDICTS: labels new samples. READS: beside the samples, a graph of neighbours, a network, whose defaults are")
    say("made by the fit; (images): its paper's network is for images, and `mlp` stands in for it on other data.")
    say("`deepclust methods NAME` shows the settings of one.")


def _reads(cls: Any) -> str:
    from deepclust import nets

    network = cls.default_network
    images = " (images)" if network and nets.describe(network).needs_images else ""
    return ", ".join(["graph"] * cls.reads_graph + [f"{network}{images}"] * bool(network)) or "-"


def _first_line(cls: Any) -> str:
    return (inspect.getdoc(cls) or "").splitlines()[0]


def _show(name: str, cls: Any) -> None:
    say(f"{name}: {cls.paper}")
    say()
    say(inspect.getdoc(cls) or "")
    say()
    say(f"reads: {_reads(cls)}")
    say(f"labels new samples: {f'no, {cls.why_no_predict}' if cls.why_no_predict else 'yes'}")
    say(f"sparse samples: {cls.sparse_samples}")
    say()
    meanings, hints = meanings_of(cls), get_type_hints(cls)
    for line in aligned(
        (f"  {setting} = {default!r}", f"{meanings[setting]}{_choices(hints.get(setting))}")
        for setting, default in defaults_of(cls).items()
        if setting not in APART
    ):
        say(line)


def _choices(hint: Any) -> str:
    return f" ({' | '.join(map(str, get_args(hint)))})" if get_origin(hint) is Literal else ""


def datasets(_: argparse.Namespace) -> None:
    """List the published data sets."""
    from deepclust import datasets

    rows = [("NAME", "CLASSES", "IMAGES", "SOURCE")]
    for name in datasets.names():
        spec = datasets.spec(name)
        shape = "x".join(map(str, spec.image_shape)) if spec.image_shape else "-"
        rows.append((name, str(spec.n_clusters), shape, spec.source))
    for line in aligned(rows):
        say(line)
    say()
    say('In Python: deepclust.datasets.load(NAME, "data") fetches, verifies and reads one.')
