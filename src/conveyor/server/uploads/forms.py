"""Reads an upload's form while it arrives, in constant memory: fields are kept, the file passes through.

Bytes go in with ``feed``; those of the file come out with ``take_file``, at once, to be written and hashed.
Unknown fields are kept like known ones and ignored later; what is bounded is all of them together.

Source: RFC 7578. The file is the part ``content`` that has a filename.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from conveyor.domain.distributions.reading import UploadForm
from conveyor.errors import InvalidInput, TooLarge

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FIELDS_LIMIT_BYTES = 16 * 1024 * 1024
"""All fields of a form together; the largest is the description, which core metadata limits to 4 MiB."""
MOST_PARTS = 10_000
HINT = "upload with twine upload, uv publish, or another client of the same protocol"


class FormReader:
    """Parses one form; ``feed`` everything, then ``finish``."""

    def __init__(self, content_type: str) -> None:
        """Prepare for a body of this type; raises InvalidInput when it is no multipart form."""
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise InvalidInput(f"an upload is a multipart/form-data form, not {content_type!r}", hint=HINT)
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise InvalidInput(f"the upload form cannot be read: {error}", hint=HINT) from error
        self.filename: str | None = None
        """Of the file; ``None`` as long as its part has not begun."""
        self._fields: dict[str, list[str]] = {}
        self._fields_bytes = 0
        self._parts = 0
        self._file: list[bytes] = []
        self._has_ended = False
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._content_type = b""
        self._name = ""
        self._is_file = False
        self._value = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            InvalidInput: they are no multipart form, or it has two files.
            TooLarge: its fields are over their limit.
        """
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidInput(f"the upload form cannot be read: {error}", hint=HINT) from error

    def has(self, name: str) -> bool:
        """Whether a field of this name has come by now."""
        return name in self._fields

    def take_file(self) -> list[bytes]:
        """The bytes of the file that have come since the last call."""
        taken, self._file = self._file, []
        return taken

    def finish(self) -> tuple[str, UploadForm]:
        """The file's name and the fields, when the form has arrived whole.

        Raises:
            InvalidInput: it was cut off, or there is no file in it.
        """
        if not self._has_ended:
            raise InvalidInput("the upload form is cut off", hint="upload again")
        if self.filename is None:
            raise InvalidInput(
                "the upload form has no file: no part named content with a filename", hint=HINT
            )
        return self.filename, UploadForm(self._fields)

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise TooLarge(f"the upload form has more than {MOST_PARTS:,} parts")
        self._disposition, self._content_type, self._name, self._is_file = b"", b"", "", False
        self._header_name = self._header_value = b""
        self._value = bytearray()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        name = self._header_name.lower()
        if name == b"content-disposition":
            self._disposition = self._header_value
        elif name == b"content-type":
            self._content_type = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        # Both the name of a field and that of a file come as UTF-8; the parser goes by way of Latin-1.
        kind, options = parse_options_header(self._disposition.decode("latin-1"))
        if kind != b"form-data" or b"name" not in options:
            raise InvalidInput("the upload form has a part without a name", hint=HINT)
        self._name = _text(options[b"name"], "the name of a field")
        if self._name == "content" and b"filename" in options:
            if self.filename is not None:
                raise InvalidInput("the upload form has two files", hint="upload one file at a time")
            if self._content_type.strip().lower().startswith(b"image/"):
                raise InvalidInput("the file is sent as an image, which no distribution is", hint=HINT)
            self.filename = _text(options[b"filename"], "the filename")
            self._is_file = True

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._file.append(data[start:end])
            return
        self._fields_bytes += end - start
        if self._fields_bytes > FIELDS_LIMIT_BYTES:
            raise TooLarge(f"the fields of the upload form have more than {FIELDS_LIMIT_BYTES:,} bytes")
        self._value += data[start:end]

    def _end_part(self) -> None:
        if not self._is_file:
            # Fields that nobody looks at, such as a signature, may hold anything.
            value = bytes(self._value).decode("utf-8", "replace")
            self._fields.setdefault(self._name, []).append(value)

    def _end(self) -> None:
        self._has_ended = True


def _text(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{what} in the upload form is not UTF-8") from error
