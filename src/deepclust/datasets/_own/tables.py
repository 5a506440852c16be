"""CSV and Parquet: numbers of the features, labels and samples' names as they are written."""

import codecs
import contextlib
import logging
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepclust.datasets._own.content import COMPRESSIONS, TEXTS, Read, format_of, is_text
from deepclust.errors import UserError

_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>"]  # among numbers; others are text
_log = logging.getLogger(__name__)
_FEW = 10  # rows: a column of fewer may count them by chance
_SEPARATORS = (";", "\t", "|", ",")
_LONGER = re.compile(r"Length of header|Expected \d+ fields in line (\d+)")  # pandas of rows longer than the first
_REPEATED = re.compile(r"Multiple matches for FieldRef.Name\((.+?)\) in ")  # pyarrow of two columns of a name
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ": "xz", b"PK": "zip"}  # as such a file begins


@dataclass(frozen=True)
class Text:
    """How a text file holds a table; what is None is told by the file's name, or is UTF-8."""

    header: bool | None
    separator: str | None
    encoding: str | None
    compression: str | None


def read(at: str, path: Path, columns: Sequence[str] | None, labels: str | None, index: bool | str, text: Text) -> Read:
    """Return the features, a part for all columns or, where their types differ, for each, and the labels."""
    where = f"{at}: {path.name}"
    table = None
    if format_of(path) == ".parquet":
        table, n_features = _parquet(where, path)
        names, hint = list(table.columns), ""
    else:
        file = _File(where, path, text, index)
        names, hint = file.names, file.hint
        n_features = len(names)
    if repeated := sorted(name for name, count in Counter(names).items() if name and count > 1):
        raise UserError(f"{where} has several columns {repeated[0]!r}; rename all but one")
    for name in [*(columns or []), *(name for name in (labels, index) if isinstance(name, str))]:
        if name not in names:
            raise UserError(f"{where} has no column {name!r}; it has {', '.join(names)}{hint}")
    label = None if labels is None else names.index(labels)
    ids = None if index is False else 0 if index is True else names.index(index)
    aside = [place for place in (label, ids) if place is not None]
    chosen = [names.index(name) for name in columns] if columns else [i for i in range(n_features) if i not in aside]
    if not chosen:
        beside = f" beside {', '.join(names[place] for place in aside)}" if aside else ""
        raise UserError(f"{where} has no column{beside}; add the features")
    if nameless := [place for place in chosen if not names[place]]:
        remedy = "set index: true if it numbers or names the rows, or " if nameless[0] == 0 else "name it, or "
        raise UserError(f"{where}, column {nameless[0] + 1} has no name; {remedy}list the features under columns")
    if table is None:
        table = file.table(aside)
        _warn_of_lines(where, names, table.drop(columns=table.columns[[*chosen, *aside]]))
    features = {names[place]: _numbers(where, names[place], table.iloc[:, place], hint) for place in chosen}
    for name, values in features.items():
        if columns is None and _counts(values):
            raise UserError(
                f"{where}, column {name!r} counts the rows from {values[0]:.0f} to {values[-1]:.0f}, as an index does; "
                f"set index: {name} if it is one, or list the features under columns"
            )
    alike = len({values.dtype for values in features.values()}) == 1
    parts = [np.column_stack(list(features.values()))] if alike else [values[:, None] for values in features.values()]
    classes = None
    if label is not None:  # in CSV numbers are words, too
        classes = _classes(where, names[label], table.iloc[:, label], by_number=format_of(path) in TEXTS)
    samples: tuple[str, ...] = ()
    if ids is not None:
        column = table.iloc[:, ids]
        if (missing := (column.isna() | (column.astype(str) == "")).to_numpy()).any():
            row = int(missing.argmax()) + 1
            raise UserError(f"{where}, row {row}, column {names[ids]!r}: the name is missing; add it or drop the row")
        samples = tuple(column.astype(str))
        _require_lines(where, names[ids], samples)
    return Read(parts, classes, list(features), samples)


class _File:
    """A table in a text file: the names of its columns, and a hint where it may be separated by another character."""

    def __init__(self, where: str, path: Path, text: Text, index: bool | str) -> None:
        self._where, self._path, self._text = where, path, text
        self._separator = text.separator or ("\t" if format_of(path) == ".tsv" else ",")
        encoding = text.encoding or "utf-8"
        compression = text.compression or COMPRESSIONS.get(path.suffix.lower())
        self._options: dict[str, Any] = {
            "sep": self._separator,
            "encoding": "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding,
            "compression": None if compression == "none" else compression,
            "skip_blank_lines": False,
        }
        self.hint = ""
        with self._parsing():
            first = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **self._options)
        cells = first.iloc[0].tolist()
        if any("\x00" in cell for cell in cells):
            encoding = "utf-16-be" if cells[0].startswith("\x00") else "utf-16-le"
            raise UserError(f"{where}: the first row has a zero byte beside each letter; set encoding: {encoding}")
        if len(cells) == 1 and (
            others := [other for other in _SEPARATORS if other in cells[0].replace(self._separator, "")]
        ):
            self.hint = f"; it looks separated by {max(others, key=cells[0].count)!r}: set separator"
        told = cells[1:] if index is True and cells[0] else cells  # a sample's name; pandas leaves a header's empty
        if not self.hint and text.header is None and told and all(map(_is_value, told)):
            shown = ", ".join(told[:5]) + (", ..." if len(told) > 5 else "")
            raise UserError(
                f"{where}: the first row is values, {shown}; set header: false if it is data, or header: true "
                "if these are names"
            )
        self.names = [str(place + 1) for place in range(len(cells))] if text.header is False else cells

    def table(self, words: Sequence[int]) -> pd.DataFrame:
        """Return the cells below the header: numbers, but for the columns `words`, whose text stays as written."""
        places = list(map(str, range(len(self.names))))
        with self._parsing():
            table: pd.DataFrame = pd.read_csv(
                self._path,
                header=None if self._text.header is False else 0,
                names=places,
                index_col=False,
                low_memory=False,
                dtype=dict.fromkeys(map(str, words), str),
                keep_default_na=False,
                na_values={place: _MISSING for place in places if int(place) not in words},
                **self._options,
            )
        if (empty := (table.isna() | (table == "")).all(axis=1).to_numpy()).any():
            raise UserError(f"{self._where}, row {int(empty.argmax()) + 1} is empty; remove the line")
        return table

    @contextlib.contextmanager
    def _parsing(self) -> Iterator[None]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # lines longer than the header
                yield
        except Exception as error:  # decompressors of damaged files raise anything
            encoding, reason = self._text.encoding or "UTF-8", " ".join(str(error).split())
            if longer := _LONGER.search(reason):
                reason = f"{f'line {longer[1]}' if longer[1] else 'row 1'} has more cells than the first line"
            raise UserError(
                f"{self._where} cannot be read as CSV in {encoding} separated by {self._separator!r}: {reason}"
                f"{self.hint or self._remedy(error)}"
            ) from None

    def _remedy(self, error: BaseException) -> str:
        with open(self._path, "rb") as file:
            start = file.read(5)
        if compression := self._options["compression"]:
            if not any(start.startswith(beginning) for beginning, name in _COMPRESSED.items() if name == compression):
                return f"; set compression: none if it is not compressed by {compression}"
            return "; leave one file in it" if "Multiple files" in str(error) else "; bring a whole copy of it"
        for beginning, compression in _COMPRESSED.items():
            if start.startswith(beginning):
                return f"; it looks compressed: set compression: {compression}"
        if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "; it looks like UTF-16: set encoding: utf-16"
        if isinstance(error, pd.errors.EmptyDataError):
            return "; the first line is empty: remove it"
        if _LONGER.search(str(error)):
            return "; name every column, take out separators that end rows, or quote text that holds one"
        return "; set encoding, such as cp1252" if isinstance(error, UnicodeError) else ""


def _parquet(where: str, path: Path) -> tuple[pd.DataFrame, int]:
    """Return the columns by names as text, those of a named index behind them, and how many come before these."""
    try:
        table = pd.read_parquet(path)
    except ImportError:
        raise UserError(f"{where} needs pyarrow; pip install -e '.[parquet]', or save it as CSV") from None
    except Exception as error:  # pyarrow's own kinds too
        if repeated := _REPEATED.search(str(error)):
            raise UserError(f"{where} has several columns {repeated[1]!r}; rename all but one") from None
        raise UserError(f"{where} cannot be read as Parquet: {' '.join(str(error).split())}") from None
    n_columns, levels = table.shape[1], enumerate(table.index.names)
    behind = [table.index.get_level_values(i).to_series(table.index, name) for i, name in levels if name is not None]
    table = pd.concat([table, *behind], axis=1) if behind else table
    return table.set_axis([str(name) for name in table.columns], axis=1), n_columns


def _numbers(where: str, name: str, column: pd.Series, hint: str) -> np.ndarray:
    """Return a column as whole numbers where it holds only such, else as float64; text is a UserError that says where.

    Whole numbers are of a NumPy type or, beyond all of these, Python's own.
    """
    if isinstance(column.dtype, pd.StringDtype) or column.dtype == object:
        try:
            numbers = pd.to_numeric(column, errors="coerce")
        except OverflowError:  # a whole number beyond all floats
            words = column.astype(str).str.replace(r"\s*[+-]?\d{309,}\s*", "inf", regex=True)
            numbers = pd.to_numeric(words, errors="coerce")
        text = (numbers.isna() & column.notna()).to_numpy()
        if text.any():
            row = int(text.argmax())
            raise UserError(
                f"{where}, row {row + 1}, column {name!r}: {column.iloc[row]!r} is no number; correct it, or "
                f"list the numeric columns under columns{hint}"
            )
        words = column.astype(str)
        if len(words) and words.str.fullmatch(r"\s*[+-]?\d{1,300}\s*").all():
            return np.array([int(word) for word in words], dtype=object)
        column = numbers
    elif not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
        raise UserError(
            f"{where}, row 1, column {name!r}: {column.dtype} is no number; list the numeric columns under columns"
        )
    if column.dtype.kind in "iu" and not column.isna().any():
        return column.to_numpy(dtype=f"{column.dtype.kind}8")
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _counts(values: np.ndarray) -> bool:
    """Return whether values go up by 1, or down, from row to row, for more than a handful of rows."""
    if len(values) < _FEW:
        return False
    first, last = values[[0, -1]].tolist()  # in Python, where large whole numbers do not overflow
    if abs(last - first) != len(values) - 1:
        return False
    return np.array_equal(values - values[0] if last > first else values[0] - values, np.arange(len(values)))


def _classes(where: str, name: str, column: pd.Series, *, by_number: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes in order and each row's place among them; `by_number` puts '2' before '10'."""
    numeric = pd.api.types.is_numeric_dtype(column)
    words = column if numeric else column.astype(str)
    missing = (column.isna() | (words == "")).to_numpy()
    if missing.any():
        row = int(missing.argmax()) + 1
        raise UserError(f"{where}, row {row}, column {name!r}: the label is missing; add it or drop the row")
    codes, found = pd.factorize(words)
    classes = found.to_numpy() if numeric else np.array(found.tolist())
    if not numeric:
        _require_lines(where, name, classes[codes].tolist())
    order = np.argsort(classes)
    if by_number and all(map(_is_number, classes)):
        order = np.lexsort((classes, np.array([float(word) for word in classes])))
    return classes[order], np.argsort(order)[codes]


def _require_lines(where: str, name: str, words: Sequence[str]) -> None:
    if not is_text("".join(words)):
        row = next(row for row, word in enumerate(words) if not is_text(word))
        raise UserError(
            f"{where}, row {row + 1}, column {name!r}: {str(words[row])!r} holds a line break or control character; "
            "close the quotes or take it out"
        )


def _warn_of_lines(where: str, names: Sequence[str], unread: pd.DataFrame) -> None:
    """Warn of text with line breaks in columns that are not read: a quote left open swallows the rows behind it."""
    for place in unread.columns:
        broken = unread[place].astype(str).str.contains("[\r\n]").to_numpy()
        if broken.any():
            row = int(broken.argmax()) + 1
            say = "%s, row %d, column %r holds line breaks, so that several lines are one row; close its quotes if not"
            _log.warning(say, where, row, names[int(place)])


def _is_value(word: str) -> bool:
    """Return whether a cell of the first row would be read as data below a header: a number, missing, or a boolean."""
    if word in _MISSING[1:] or word.lower() in ("true", "false"):
        return True
    with contextlib.suppress(ValueError):
        float(word)
        return True
    return False


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False
