"""The schema of params.yaml: keys, types and ranges, apart from methods' own settings."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from deepclust import layout
from deepclust.datasets import _own
from deepclust.errors import UserError
from deepclust.files import read_yaml
from deepclust.settings import Count, Device


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]{1,80}", name):
        raise ValueError(
            "names are made of a-z, 0-9 and _ (DVC joins and splits names at other characters), 80 at most; rename it"
        )
    return name


def _distinct(values: list[Any]) -> list[Any]:
    if repeated := sorted({str(v) for v in values if values.count(v) > 1}):
        raise ValueError(f"{', '.join(repeated)} is listed twice; list each once")
    return values


def _fit_for_a_folder(value: Any) -> Any:
    finite = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if not (finite or value is None or (isinstance(value, str) and re.fullmatch(r"\w+", value))):
        raise ValueError("a value of a sweep is a finite number, a word, true, false or null; correct it")
    return value


def _not_empty(value: Any) -> Any:
    if value is None:
        raise ValueError("nothing stands here; write {} or take the key out")
    return value


def _as_text(name: Any) -> Any:
    return str(name) if isinstance(name, int) and not isinstance(name, bool) else name


def _one_character(separator: str) -> str:
    if len(separator) != 1 or separator in '"\r\n':
        raise ValueError('a separator is one character, such as ";" or "\\t", and no quote or line break; correct it')
    return separator


def _lies_below(name: str) -> bool:
    return not Path(name).is_absolute() and not any(part.startswith(".") for part in Path(name).parts)


def _known_encoding(encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError:
        raise ValueError("Python knows no such encoding; correct it, such as utf-8, cp1252 or utf-16") from None
    return encoding


Name = Annotated[str, AfterValidator(_plain_name)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**32)]], Field(min_length=1), AfterValidator(_distinct)]
Value = Annotated[Any, AfterValidator(_fit_for_a_folder)]
Values = Annotated[list[Value], Field(min_length=1), AfterValidator(_distinct)]
Column = Annotated[str, BeforeValidator(_as_text)]  # a name, which may be a number
Given = Annotated[dict[str, Any], BeforeValidator(_not_empty)]  # settings that a method or network checks


class Strict(BaseModel):
    """Unknown keys are errors, types are not converted, and settings do not change once read."""

    model_config = ConfigDict(frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, content: Any) -> Any:
        _not_empty(content)
        if isinstance(content, dict) and (unknown := [key for key in content if key not in cls.model_fields]):
            allowed = ", ".join(cls.model_fields)
            found = {"key": str(unknown[0]), "value": content[unknown[0]]}
            raise PydanticCustomError("unknown_key", f"unknown key, use one of {allowed}", found)
        return content


class Compute(Strict):
    device: Device = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    precision: Literal["float32", "bfloat16", "onednn_bfloat16"] = "float32"
    instructions: Literal["native", "avx2"] = Field("native", description="docs/same-bits.md")

    @model_validator(mode="after")
    def _float32_alone_is_held(self) -> "Compute":
        if self.instructions == "avx2" and self.precision != "float32":
            raise ValueError(
                f"instructions: avx2 goes with precision: float32 alone, got {self.precision}; change one of them"
            )
        return self


class Data(Strict):
    mirror: str | None = None


class Own(Strict):
    """A data set of the user's: `deepclust.datasets._own.prepare` explains its settings."""

    path: str
    n_clusters: Count
    scale: Literal["feature", "global", "none"] | None = None
    columns: Annotated[list[Column], Field(min_length=1), AfterValidator(_distinct)] | None = None
    array: str | None = None
    edges: bool = False
    labels: Column | None = None
    index: Column | bool = False
    header: bool | None = None
    separator: Annotated[str, AfterValidator(_one_character)] | None = None
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    compression: Literal["gzip", "bz2", "xz", "zip", "none"] | None = None
    image_shape: Annotated[list[Count], Field(min_length=3, max_length=3)] | None = None

    @model_validator(mode="after")
    def _settings_fit_the_format(self) -> "Own":
        if fault := _own.fault_of(self.path):
            raise ValueError(f"{fault}; see docs/own-data.md")
        kind = _own.format_of(self.path)
        images = not kind and self.array is None
        of_text = (self.header, self.separator, self.encoding, self.compression)
        in_folder = [name for name in (self.array, self.labels) if self.array is not None and not kind and name]
        aside = {name for name in (self.labels, self.index) if isinstance(name, str)}
        rules = [
            (Path(self.path).name in ("", ".."), "path must end in the name of a file or a folder"),
            (not images and not self.edges and self.scale is None, "scale must be feature, global or none"),
            (self.edges and (images or kind in (*_own.TABLES, ".npy")), "edges are a sparse matrix in a .npz file"),
            (self.edges and (self.scale or self.image_shape) is not None, "edges have no scale and no image_shape"),
            (images and self.scale is not None, "scale is for tables and arrays; images are divided by 255"),
            (self.columns is not None and kind not in _own.TABLES, "columns are for .csv and .parquet files"),
            (bool(aside & set(self.columns or [])), "columns must not hold the labels or the index"),
            (self.index is not False and kind not in _own.TABLES, "index is for .csv and .parquet files"),
            (self.index is True and kind == ".parquet", "index of a .parquet file is the name of a column"),
            (
                any(setting is not None for setting in of_text) and kind not in _own.TEXTS,
                "header, separator, encoding and compression are for .csv and .tsv files",
            ),
            (self.array is not None and kind in (*_own.TABLES, ".npy"), "array is for .npz files and folders"),
            (
                not all(map(_lies_below, in_folder)),  # others would be read and not watched
                "array and labels are files below path, without .. and not hidden; move them there",
            ),
            (
                self.labels is not None and kind == ".npy",
                "labels of a .npy file lie beside it: make path the folder of both, array and labels their names in it",
            ),
            (images and self.labels not in (None, "folders"), "labels of a folder of images are 'folders' or absent"),
            (
                self.image_shape is not None and self.image_shape[0] > 1024,
                "image_shape is channels, height and width, with at most 1024 channels",
            ),
            (
                images and self.image_shape is not None and self.image_shape[0] not in (1, 3),
                "image_shape of a folder of images has 1 or 3 channels",
            ),
        ]
        for broken, rule in rules:
            if broken:
                raise ValueError(f"{rule}; see docs/own-data.md")
        return self


class Graph(Strict):
    n_neighbors: Annotated[int, Field(ge=1, le=1000)] = 10
    bandwidth: Literal["local", "median"] = "local"
    symmetrize: Literal["max", "mean"] = "max"
    exact: bool = True


class Overrides(Strict):
    """Changes for one data set, which stand over the grid's sections of the same names."""

    seeds: Seeds | None = Field(None, description="instead of the grid's")
    compute: Given = Field(default_factory=dict, description="all but instructions, which are the grid's")
    graph: Given = Field(default_factory=dict)
    defaults: Given = Field(default_factory=dict)
    networks: dict[Name, Given] = Field(default_factory=dict)
    methods: dict[Name, Given] = Field(default_factory=dict)


class Sweep(Strict):
    """Variations of one cell on one data set: its points are all combinations of the values in `grid`.

    Three settings at most, as many as a figure of maps side by side can show.
    """

    dataset: str
    cell: str
    seeds: Seeds
    base: Given = Field(default_factory=dict, description="what every point changes in the cell's settings")
    grid: Annotated[dict[str, Values], Field(min_length=1, max_length=3)]


class Config(Strict):
    """The params.yaml of one grid."""

    grid: Name
    seeds: Seeds
    datasets: Annotated[list[Name], Field(min_length=1), AfterValidator(_distinct)]
    compute: Compute = Compute()
    data: Data = Data()
    own: Annotated[dict[Name, Own], BeforeValidator(_not_empty)] = Field(default_factory=dict)
    graph: Graph = Graph()
    defaults: Given = Field(default_factory=dict, description="for every method and network that has such a setting")
    networks: Annotated[dict[Name, Given], BeforeValidator(_not_empty)] = Field(default_factory=dict)
    methods: Annotated[dict[Name, Given], BeforeValidator(_not_empty), Field(min_length=1)]
    overrides: Annotated[dict[Name, Overrides], BeforeValidator(_not_empty)] = Field(default_factory=dict)
    sweeps: Annotated[dict[Name, Sweep], BeforeValidator(_not_empty)] = Field(default_factory=dict)

    def changes_of(self, dataset: str) -> Overrides:
        """Return the changes for a data set; none if the grid has none."""
        return self.overrides.get(dataset, Overrides())

    def seeds_of(self, dataset: str) -> list[int]:
        """Return the seeds that a data set is run with."""
        return self.changes_of(dataset).seeds or self.seeds


def load(path: Path | str = layout.PARAMS) -> Config:
    """Return the configuration in `path`; its shape and ranges are checked, its methods' settings not yet."""
    config: Config = validated(Config, read_yaml(path), str(path))
    return config


def validated(schema: Any, content: Any, where: str) -> Any:
    """Return the content as an object of the schema, or raise a UserError of one line: key, rule and value."""
    try:
        return TypeAdapter(schema).validate_python(content)
    except ValidationError as error:
        problems = error.errors()
        first = problems[0]
        key, value = _path_in(content, first["loc"]), first["input"]
        absent = {"missing": first["loc"][-1:], "unknown_key": [first.get("ctx", {}).get("key")]}
        key = ".".join(str(part) for part in [key, *absent.get(first["type"], [])] if part)
        value = first["ctx"]["value"] if first["type"] == "unknown_key" else value
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        given = "" if first["type"] == "missing" else f", got {value!r}"
        rule = first["msg"].removeprefix("Value error, ")
        raise UserError(": ".join(filter(None, [where, key, f"{rule}{given}{more}"]))) from None


def _path_in(content: Any, location: tuple[int | str, ...]) -> str:
    """Return the dotted path of a schema error in the file: pydantic's own path also names `[key]`."""
    path = []
    for part in location:
        inside = part in content if isinstance(content, dict) else isinstance(part, int)
        if inside:
            path.append(str(part))
            content = content[part]
    return ".".join(path)
