"""Reads an upload's form while it arrives, in constant memory: fields are kept, the file passes through.

Bytes go in with ``feed``; those of the file come out with ``take_file``, at once, to be written and hashed.
Unknown fields are kept like known ones and ignored later; the limit is on all of them together.

Source: RFC 7578. The file is the part ``content`` that has a filename.
"""

from __future__ import annotations

from multipart import (  # type: ignore[import-untyped]  # it has annotations, and no marker that says so
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from conveyor.domain.distributions.reading import UploadForm
from conveyor.errors import InvalidInput, TooLarge

FIELDS_LIMIT_BYTES = 16 * 1024 * 1024
"""The limit for all fields together; the largest is the description, limited to 4 MiB by core metadata."""
MOST_PARTS = 10_000
LONGEST_BOUNDARY = 256
"""RFC 2046 allows 70; each piece of the body is searched for it."""
HINT = "upload with twine upload, uv publish, or another client of the same protocol"


class FormReader:
    """Parses one form; ``feed`` everything, then ``finish``."""

    def __init__(self, content_type: str) -> None:
        """Prepare for a body of this type; raises InvalidInput if it is not a multipart form."""
        kind, options = parse_options_header(content_type)
        boundary = options.get("boundary", "")
        if kind != "multipart/form-data" or not boundary:
            raise InvalidInput(
                f"an upload is a multipart/form-data form, not {content_type!r}", hint=HINT, rule="form"
            )
        if len(boundary) > LONGEST_BOUNDARY:
            raise InvalidInput(
                "the upload form cannot be read: its boundary is too long", hint=HINT, rule="form"
            )
        try:
            # Names must be UTF-8; other names get a message of their own, so the parser takes any bytes.
            self._parser = PushMultipartParser(boundary.encode("latin-1"), header_charset="latin-1")
        except MultipartError as error:
            raise _unreadable(error) from error
        self.filename: str | None = None
        """The name of the file; ``None`` until its part begins."""
        self._fields: dict[str, list[str]] = {}
        self._fields_bytes = 0
        self._parts = 0
        self._file: list[bytes] = []
        self._name = ""
        self._is_file = False
        self._value: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            InvalidInput: they are not a multipart form, or the form has two files.
            TooLarge: its fields exceed their limit.
        """
        try:
            for event in self._parser.parse(data):
                if event is None:
                    self._end_part()
                elif isinstance(event, MultipartSegment):
                    self._begin_part(event)
                else:
                    self._add_data(event)
        except MultipartError as error:
            raise _unreadable(error) from error

    def has(self, name: str) -> bool:
        """Whether a field of this name has already come."""
        return name in self._fields

    def take_file(self) -> list[bytes]:
        """The bytes of the file that have come since the last call."""
        taken, self._file = self._file, []
        return taken

    def finish(self) -> tuple[str, UploadForm]:
        """The file's name and the fields, once the form has arrived whole.

        Raises:
            InvalidInput: it was cut off, or contains no file.
        """
        try:
            self._parser.close()
        except MultipartError as error:
            if self._parts:
                raise InvalidInput("the upload form is cut off", hint="upload again", rule="form") from error
            what = "the upload form cannot be read: it is cut off, or no part of it begins with its boundary"
            raise InvalidInput(what, hint=HINT, rule="form") from error
        if self.filename is None:
            raise InvalidInput(
                "the upload form has no file: no part named content with a filename", hint=HINT, rule="form"
            )
        return self.filename, UploadForm(self._fields)

    def _begin_part(self, part: MultipartSegment) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise TooLarge(f"the upload form has more than {MOST_PARTS:,} parts", rule="form")
        if not part.name:
            raise InvalidInput("the upload form has a part without a name", hint=HINT, rule="form")
        self._name, self._is_file, self._value = _text(part.name, "the name of a field"), False, []
        if self._name == "content" and part.filename is not None:
            if self.filename is not None:
                raise InvalidInput(
                    "the upload form has two files", hint="upload one file at a time", rule="form"
                )
            if (part.content_type or "").startswith("image/"):
                raise InvalidInput(
                    "the file is sent as an image, and a distribution is not one", hint=HINT, rule="form"
                )
            self.filename = _text(part.filename, "the filename")
            self._is_file = True

    def _add_data(self, data: bytes) -> None:
        if self._is_file:
            self._file.append(data)
            return
        self._fields_bytes += len(data)
        if self._fields_bytes > FIELDS_LIMIT_BYTES:
            raise TooLarge(
                f"the fields of the upload form have more than {FIELDS_LIMIT_BYTES:,} bytes", rule="form"
            )
        self._value.append(data)

    def _end_part(self) -> None:
        if not self._is_file:
            # Fields that nobody looks at, such as a signature, may hold anything.
            value = b"".join(self._value).decode("utf-8", "replace")
            self._fields.setdefault(self._name, []).append(value)


def _unreadable(error: MultipartError) -> InvalidInput:
    return InvalidInput(f"the upload form cannot be read: {error}", hint=HINT, rule="form")


def _text(raw: str, what: str) -> str:
    try:
        return raw.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{what} in the upload form is not UTF-8", rule="form") from error
