"""Records: values that cross the wire, each declared once, and the parts derived from a declaration.

::

    @dataclass(frozen=True)
    class NewSigner(Record):
        \"\"\"A person's key to be registered.\"\"\"

        principal: Annotated[Text, "Whose key it is."]
        valid_until: Annotated[Moment | None, "When it ends; null: when it is revoked."] = None

    read_record(NewSigner, value, what="the signer")      # raises InvalidInput with all faults
    as_json(signer)
    schema_of(NewSigner)

The annotation declares the values of a field, and the sentence in it says what the field means. The reader of
requests, the JSON of answers and its reader, the OpenAPI document, the reference, and the options and tables
of the command line are all derived from that, and not written by hand (decision 0025).

An annotation is made of ``str``, ``int``, ``bool``, ``Literal``, ``Mapping``, other records, tuples of one
kind (``tuple[Text, ...]``) and ``| None``, with the marks below. A plain ``str`` is any text; a text that a
client sends is a ``Text`` or a related type. Annotations are read at run time, so the names in them are
imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Schema = dict[str, Any]
"""JSON Schema 2020-12, as OpenAPI 3.1 uses it."""
MAX_TEXT_LENGTH = 4096
LARGEST_COUNT = 2**63 - 1
"""The largest number that a column of a database can hold."""
MOST_FAULTS = 100
"""Faults named for one value; a hostile list must not cause a long answer."""


class Record:
    """Base of all records; each of them is a frozen dataclass."""

    __slots__ = ()
    is_open: ClassVar[bool] = False
    """Whether undeclared fields are accepted."""
    leaves_out_defaults: ClassVar[bool] = False
    """Whether fields with their default value are omitted."""


R = TypeVar("R", bound=Record)


# --- marks -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given:
    """Marks a text from a client: it is not empty, has a limited length and no NUL."""

    longest: int = MAX_TEXT_LENGTH


@dataclass(frozen=True)
class Matching:
    """Marks a text that must match a pattern as a whole; else ``problem`` says what it is not."""

    pattern: str
    problem: str


@dataclass(frozen=True)
class Judged:
    """Of a text, a number or a list: ``problem_of`` tells what is wrong, such as ``is not base64``."""

    problem_of: Callable[[Any], str | None]


def readable_by(read: Callable[[str], object], problem: str) -> Judged:
    """Marks a text that ``read`` accepts; if it raises ValueError, ``problem`` says what the text is not."""

    def problem_of(text: str) -> str | None:
        try:
            read(text)
        except ValueError:
            return problem
        return None

    return Judged(problem_of)


@dataclass(frozen=True)
class Described:
    """Marks a text that has this schema instead; the text is checked where it is used."""

    pattern: str | None = None
    format: str | None = None
    words: tuple[str, ...] = ()
    shortest: int | None = None
    longest: int | None = None

    @property
    def schema(self) -> Schema:
        """The schema of such texts."""
        said = {
            "pattern": self.pattern,
            "format": self.format,
            "enum": list(self.words),
            "minLength": self.shortest,
            "maxLength": self.longest,
        }
        return {"type": "string", **{name: value for name, value in said.items() if value}}


@dataclass(frozen=True)
class Between:
    """Marks a number with a least and a greatest value."""

    least: int
    most: int


@dataclass(frozen=True)
class Named:
    """The name of a field on the wire, if Python does not allow it."""

    name: str


@dataclass(frozen=True)
class Option:
    """The option for a field, if its name does not determine it: ``--index`` for ``indexes``."""

    name: str
    metavar: str | None = None


@dataclass(frozen=True)
class Column:
    """The column for a field in a table for people, if its name does not determine it."""

    heading: str | None
    """``None``: the field has no column."""
    cell: Callable[[Any], str] | None = None
    """Makes the cell from the whole record."""


NO_COLUMN = Column(None)


Text = Annotated[str, Given()]
ShortText = Annotated[str, Given(200)]
Count = Annotated[int, Between(0, LARGEST_COUNT)]


# --- parts derived from a declaration ----------------------------------------------------------------------


def read_record(record: type[R], value: object, *, what: str, place: str = "", is_told: bool = False) -> R:
    """The record in a parsed JSON value.

    Args:
        record: its class.
        value: from a JSON parser.
        what: its name in messages, such as ``the token``.
        place: prefix of the names of fields in faults, such as ``statement``.
        is_told: the value is the answer of a store, perhaps a newer one: undeclared fields are accepted.

    Raises:
        InvalidInput: it is not such a record; names every fault.
    """
    reading = _Reading(is_told=is_told)
    found: Any = None
    if isinstance(value, dict):
        found = _Part(record).read(value, place, reading)
    else:
        reading.fault(place or what, "is not an object")
    faults = reading.faults
    if faults:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        detail = f": {faults[0]}" if len(faults) == 1 else ""
        raise InvalidInput(f"{what} has {count}{detail}", faults=faults)
    return found  # type: ignore[no-any-return] # without a fault it is one


def as_json(value: object) -> Any:  # noqa: ANN401 - JSON
    """A record, or a mapping or sequence of them, as plain values that ``json`` writes."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Record):
        return {
            one.wire_name: as_json(given)
            for one in shape_of(type(value))
            if (given := getattr(value, one.name)) != one.default or not value.leaves_out_defaults
        }
    if isinstance(value, Mapping):
        return {name: as_json(one) for name, one in value.items()}
    return [as_json(one) for one in value]  # type: ignore[attr-defined]  # what is left is a sequence


def schema_of(annotation: object, *, is_told: bool = False) -> Schema:
    """The schema of a record or of another annotation; records in it are referred to by name.

    ``is_told``: of an answer, in which every field is present.
    """
    kind = _kind(annotation)
    return kind.own_schema(is_told=is_told) if isinstance(kind, _Part) else kind.schema()


def reference_to(record: type[Record]) -> Schema:
    """The schema that refers to a record's own among the components of the OpenAPI document."""
    return {"$ref": f"#/components/schemas/{record.__name__}"}


def records_in(record: type[Record]) -> Iterator[type[Record]]:
    """The record and all records in it, possibly with duplicates."""
    yield record
    for one in shape_of(record):
        for part in one.kind.records():
            yield from records_in(part)


@dataclass(frozen=True)
class Field:
    """One field of a record, as declared."""

    name: str
    wire_name: str
    kind: Kind
    default: Any
    """``MISSING`` if the field is required."""
    doc: str
    """Its meaning, in a sentence."""
    marks: tuple[Any, ...]
    """All other parts of its annotation."""

    @property
    def is_required(self) -> bool:
        """Whether the field is required."""
        return self.default is MISSING

    @property
    def is_compound(self) -> bool:
        """Whether it holds a list or an object, which a column of the database holds as JSON."""
        return isinstance(_not_null(self.kind), _List | _Object | _Part)

    @property
    def is_list(self) -> bool:
        """Whether it holds several values."""
        return isinstance(_not_null(self.kind), _List)

    @property
    def is_flag(self) -> bool:
        """Whether it is true or false."""
        return isinstance(_not_null(self.kind), _Flag)

    @property
    def words(self) -> tuple[str, ...]:
        """The allowed words for it, or for each value of its list; empty: any."""
        kind = _not_null(self.kind)
        kind = kind.item if isinstance(kind, _List) else kind
        return tuple(kind.schema().get("enum", ()))


def shape_of(record: type[Record]) -> tuple[Field, ...]:
    """The fields of a record, in order."""
    shape = _SHAPES.get(record)
    if shape is None:
        shape = _SHAPES[record] = _read_shape(record)
    return shape


_SHAPES: dict[type[Record], tuple[Field, ...]] = {}


def _read_shape(record: type[Record]) -> tuple[Field, ...]:
    hints = get_type_hints(record, include_extras=True)
    found = []
    for one in fields(record):  # type: ignore[arg-type]  # every record is a dataclass
        default = one.default if one.default_factory is MISSING else one.default_factory()
        marks = _unwrapped(hints[one.name])[1]
        wire_name = next((mark.name for mark in marks if isinstance(mark, Named)), one.name)
        doc = next((mark for mark in marks if isinstance(mark, str)), "")
        found.append(Field(one.name, wire_name, _kind(hints[one.name]), default, doc, marks))
    return tuple(found)


# --- kinds of values ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reading:
    """One value being read: the faults so far."""

    is_told: bool
    faults: list[str] = field(default_factory=list)

    def fault(self, place: str, problem: str) -> None:
        """Note a fault of the value at a place."""
        if not self.is_full:
            self.faults.append(f"{place} {problem}")

    @property
    def is_full(self) -> bool:
        """Whether no more faults are noted."""
        return len(self.faults) >= MOST_FAULTS


class Kind:
    """A kind of value. After a fault, the value that its reader returns is useless."""

    def read(self, value: object, place: str, reading: _Reading) -> Any:  # noqa: ANN401 - as declared
        """The value; its problems become faults of ``place``."""
        raise NotImplementedError

    def schema(self) -> Schema:
        """The schema of such values."""
        raise NotImplementedError

    def records(self) -> tuple[type[Record], ...]:
        """The records in such values."""
        return ()


@dataclass(frozen=True)
class _Text(Kind):
    marks: tuple[Any, ...]

    def read(self, value: object, place: str, reading: _Reading) -> object:
        problem = "is missing" if value is None else "is not a text"
        if not isinstance(value, str):
            reading.fault(place, problem)
            return None
        for problem in filter(None, (_problem_of_text(value, mark) for mark in self.marks)):
            reading.fault(place, problem)
            break
        return value

    def schema(self) -> Schema:
        schema: Schema = {"type": "string"}
        for mark in self.marks:
            match mark:
                case Given():
                    schema |= {"minLength": 1, "maxLength": mark.longest, "pattern": r"^[^\u0000]+$"}
                case Matching():
                    schema = {"type": "string", "pattern": f"^({mark.pattern})$"}
                case Described():
                    schema = mark.schema
        return schema


def _problem_of_text(value: str, mark: object) -> str | None:
    match mark:
        case Given() if not value:
            return "is empty"
        case Given() if len(value) > mark.longest:
            return f"is longer than {mark.longest} characters"
        case Given() if "\x00" in value:
            return "holds a NUL character"
        case Matching() if not re.fullmatch(mark.pattern, value):
            return mark.problem
        case Judged():
            return mark.problem_of(value)
    return None


@dataclass(frozen=True)
class _Choice(Kind):
    words: tuple[str, ...]

    def read(self, value: object, place: str, reading: _Reading) -> object:
        if value in self.words:  # only for texts: nothing else equals one
            return value
        before = len(reading.faults)
        _Text((Given(),)).read(value, place, reading)
        if len(reading.faults) == before:
            reading.fault(place, f'is "{str(value)[:100]}", not one of {", ".join(self.words)}')
        return None

    def schema(self) -> Schema:
        return {"type": "string", "enum": list(self.words)}


@dataclass(frozen=True)
class _Number(Kind):
    bounds: Between
    marks: tuple[Any, ...] = ()

    def read(self, value: object, place: str, reading: _Reading) -> object:
        least, most = self.bounds.least, self.bounds.most
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            reading.fault(place, f"is not a whole number of {least or 'zero'} or more")
        elif value > most:
            reading.fault(place, f"is larger than {most}")
        else:
            for problem in (mark.problem_of(value) for mark in self.marks if isinstance(mark, Judged)):
                if problem:
                    reading.fault(place, problem)
        return value

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.bounds.least, "maximum": self.bounds.most}


class _Flag(Kind):
    def read(self, value: object, place: str, reading: _Reading) -> object:
        if not isinstance(value, bool):
            reading.fault(place, "is neither true nor false")
        return value

    def schema(self) -> Schema:
        return {"type": "boolean"}


class _Object(Kind):
    def read(self, value: object, place: str, reading: _Reading) -> object:
        if not isinstance(value, dict):
            reading.fault(place, "is not an object")
        return value

    def schema(self) -> Schema:
        return {"type": "object"}


@dataclass(frozen=True)
class _List(Kind):
    item: Kind
    marks: tuple[Any, ...]

    def read(self, value: object, place: str, reading: _Reading) -> object:
        if not isinstance(value, list):
            kinds = "" if isinstance(self.item, _Part | _Object) else " of texts"
            reading.fault(place, "is missing" if value is None else f"is not a list{kinds}")
            return None
        for mark in self.marks:
            if isinstance(mark, Judged) and (problem := mark.problem_of(value)):
                reading.fault(place, problem)
        found = []
        for number, one in enumerate(value):
            if reading.is_full:
                break
            found.append(self.item.read(one, f"{place}[{number}]", reading))
        return tuple(found)

    def schema(self) -> Schema:
        return {"type": "array", "items": self.item.schema()}

    def records(self) -> tuple[type[Record], ...]:
        return self.item.records()


@dataclass(frozen=True)
class _Nullable(Kind):
    kind: Kind

    def read(self, value: object, place: str, reading: _Reading) -> object:
        return None if value is None else self.kind.read(value, place, reading)

    def schema(self) -> Schema:
        return {"anyOf": [self.kind.schema(), {"type": "null"}]}

    def records(self) -> tuple[type[Record], ...]:
        return self.kind.records()


@dataclass(frozen=True)
class _ObjectOrText(Kind):
    text: _Text

    def read(self, value: object, place: str, reading: _Reading) -> object:
        if isinstance(value, str):
            return self.text.read(value, place, reading)
        if not isinstance(value, dict):
            reading.fault(place, "is neither an object nor a text")
        return value

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "object"}, self.text.schema()]}


@dataclass(frozen=True)
class _Part(Kind):
    record: type[Record]

    def read(self, value: object, place: str, reading: _Reading) -> object:
        if not isinstance(value, dict):
            reading.fault(place, "is not an object")
            return None
        prefix = f"{place}." if place else ""
        found: dict[str, Any] = {}
        before = len(reading.faults)
        shape = shape_of(self.record)
        for one in shape:
            if one.wire_name in value:
                found[one.name] = one.kind.read(value[one.wire_name], prefix + one.wire_name, reading)
            elif one.is_required:
                reading.fault(prefix + one.wire_name, "is missing")
        if not (self.record.is_open or reading.is_told):
            names = {one.wire_name for one in shape}
            known = ", ".join(sorted(names))
            for name in (name for name in value if name not in names):
                (nearest,) = get_close_matches(name[:100], sorted(names), n=1) or ("",)
                meant = f"did you mean {nearest}? " if nearest else ""
                reading.fault(f"{prefix}{name}"[:100], f"is unknown here ({meant}known: {known})")
        return None if len(reading.faults) > before else self.record(**found)

    def schema(self) -> Schema:
        return reference_to(self.record)

    def own_schema(self, *, is_told: bool) -> Schema:
        """The schema of the record itself."""
        shape = shape_of(self.record)
        is_whole = is_told and not self.record.leaves_out_defaults
        schema: Schema = {
            "type": "object",
            "description": (self.record.__doc__ or "").strip().partition("\n")[0],
            "properties": {
                one.wire_name: {**one.kind.schema(), **({"description": one.doc} if one.doc else {})}
                for one in shape
            },
        }
        required = [one.wire_name for one in shape if is_whole or one.is_required]
        if required:
            schema["required"] = required
        if not self.record.is_open:
            schema["additionalProperties"] = False
        return schema

    def records(self) -> tuple[type[Record], ...]:
        return (self.record,)


def _not_null(kind: Kind) -> Kind:
    return kind.kind if isinstance(kind, _Nullable) else kind


def _unwrapped(annotation: Any) -> tuple[Any, tuple[Any, ...]]:  # noqa: ANN401 - an annotation
    """An annotation without its marks, and the marks."""
    if get_origin(annotation) is Annotated:
        return annotation.__origin__, annotation.__metadata__
    return annotation, ()


def _kind(annotation: object) -> Kind:
    """The kind of values that an annotation allows; raises TypeError if records do not support it."""
    bare, marks = _unwrapped(annotation)
    origin, inner = get_origin(bare), get_args(bare)
    if origin in (Union, UnionType) and NoneType in inner:
        rest = [one for one in inner if one is not NoneType]
        return _Nullable(_of_several(rest) if len(rest) > 1 else _kind(Annotated[rest[0], *(marks or ("",))]))
    if origin is Literal:
        return _Choice(inner)
    if origin is tuple:
        return _List(_kind(inner[0]), marks)
    if origin is Mapping or origin is dict:
        return _Object()
    if bare is str:
        return _Text(marks)
    if bare is bool:
        return _Flag()
    if bare is int:
        return _Number(next((one for one in marks if isinstance(one, Between)), _ANY_NUMBER), marks)
    if isinstance(bare, type) and issubclass(bare, Record):
        return _Part(bare)
    raise TypeError(f"records know no values of the kind {annotation}")


def _of_several(annotations: list[Any]) -> Kind:
    """An object or a text, the only two kinds that may be combined."""
    (text,) = (one for one in annotations if _unwrapped(one)[0] is str)
    return _ObjectOrText(_Text(_unwrapped(text)[1]))


_ANY_NUMBER = Between(-LARGEST_COUNT, LARGEST_COUNT)
