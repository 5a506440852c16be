"""Settings of methods and networks: each declared once, on one line, with its type, range, default and meaning.

    class IDEC(SelfTraining):
        gamma: Weight = setting("weight of KL(P || Q) against the reconstruction error", default=0.1)

The constructor's argument (keyword only), `get_params`, the check of values in params.yaml and in `fit`, and the
documentation all follow from that line. A class of settings is a dataclass. The constructor checks nothing, as
scikit-learn requires.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Any, Literal, dataclass_transform, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from deepclust.errors import UserError


def _known_device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise PydanticCustomError("device", "Input should be 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'")
    return name


Count = Annotated[int, Field(ge=1, lt=2**31)]
Natural = Annotated[int, Field(ge=0, lt=2**31)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, le=1)]
Device = Annotated[str, AfterValidator(_known_device)]


def _iterations(text: str) -> str:
    if not re.fullmatch("[1-9][0-9]{0,8} iterations", text):
        raise PydanticCustomError(
            "length",
            "Input should be a number of epochs, or one of iterations as in '10000 iterations', in [1, 10^9)",
        )
    return text


_Iterations = Annotated[str, AfterValidator(_iterations), Tag("text")]
_FORM = Discriminator(lambda value: "text" if isinstance(value, str) else "number")

# The length of a training: a number of epochs, or a text such as "10000 iterations", which are batches.
Length = Annotated[Annotated[Count, Tag("number")] | _Iterations, _FORM]
LengthOrZero = Annotated[Annotated[Natural, Tag("number")] | _Iterations, _FORM]


class Augmentation(BaseModel):
    """Random affine maps, drawn afresh for every image of every batch (DECS, Sections 3.2 and 4.4)."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    rotation: float = Field(10.0, ge=0, le=180, description="largest angle, degrees")
    shift: float = Field(0.1, ge=0, le=1, description="largest translation, as a share of the side")
    crop: float = Field(0.1, ge=0, lt=1, description="largest share of the side cut away before resizing back")
    fill: Literal["zeros", "border"] = Field("zeros", description="outside of an image; border: its nearest pixel")


# Whether to augment: true stands for the declared settings, a mapping for its own.
Augmenting = Annotated[
    Annotated[bool, Tag("whether")] | Annotated[Augmentation, Tag("settings")],
    Discriminator(lambda value: "settings" if isinstance(value, Mapping | Augmentation) else "whether"),
]


def setting(meaning: str, *, default: Any, kw_only: bool = True, later: bool = False) -> Any:
    """Return the declaration of one setting; its type and range are the annotation's.

    `later` is for a setting that came after results, whose default is what the code did before: plans leave it out at
    its default, so that these results stay current. Type checkers and editors want the default as a keyword.
    """
    return field(default=default, kw_only=kw_only, metadata={"meaning": meaning, "later": later})


@dataclass_transform(eq_default=False, field_specifiers=(setting,))
class Settings:
    """The base of classes with settings. A subclass inherits the settings of its bases, and may declare one anew.

    Raises
    ------
    UserError
        If a setting has the name of a method or property of the bases, which its value would take the place of.
    """

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        for name in (name for name, value in vars(cls).items() if isinstance(value, dataclasses.Field)):
            if callable(inherited := getattr(super(cls, cls), name, None)) or isinstance(inherited, property):
                raise UserError(f"{cls.__name__}.{name}: a setting cannot have the name of a method; rename it")
        dataclass(eq=False, repr=False)(cls)


def names_of(cls: type) -> list[str]:
    """Return the names of a class's settings, in the order of its constructor."""
    return [found.name for found in fields(cls)]


def defaults_of(cls: type) -> dict[str, Any]:
    """Return the default of every setting as `checked` returns values, in the order of the constructor."""
    return {found.name: as_plain(found.default) for found in fields(cls)}


def as_plain(value: Any) -> Any:
    """Return a pydantic model as a dictionary, and any other value as it is."""
    return value.model_dump() if isinstance(value, BaseModel) else value


def meanings_of(cls: type) -> dict[str, str]:
    """Return the meaning of every setting, in the order of the constructor."""
    return {found.name: found.metadata.get("meaning", "") for found in fields(cls)}


def later_of(cls: type) -> dict[str, Any]:
    """Return the default of every setting that came later, by name."""
    return {found.name: as_plain(found.default) for found in fields(cls) if found.metadata.get("later")}


def checked(cls: type, name: str, value: Any) -> Any:
    """Return the value of a setting in its declared type: an integer becomes a declared float, a list a tuple.

    Words are not converted to numbers, nor 2.0 to an integer, and true is no number. NumPy's scalars pass for Python's.

    Raises
    ------
    UserError
        The value is not of the declared type, or out of its range; the message has the range and the value.
    """
    value = _plain(value)
    try:
        adapter = _adapters(cls)[name]
        return adapter.dump_python(adapter.validate_python(value, strict=True))
    except ValidationError as error:
        first = error.errors()[0]
        inside = "".join(f".{part}" for part in _path_in(value, first["loc"]))
        raise UserError(f"{name}{inside}: {first['msg']}, got {first['input']!r}") from None


@cache
def _adapters(cls: type) -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(cls, include_extras=True)
    return {name: TypeAdapter(hints[name]) for name in names_of(cls)}


def _plain(value: Any) -> Any:
    """Return Python's own numbers for NumPy's, in tuples too, and tuples for the lists of YAML and JSON."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, list | tuple) else value


def _path_in(value: Any, location: tuple[int | str, ...]) -> list[str]:
    """Return the part of an error's location that leads into the value; the rest names alternatives of its type."""
    path = []
    for part in location:
        if isinstance(part, int) or (isinstance(value, Mapping) and part in value):
            path.append(str(part))
            value = value[part]
    return path
