from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from urllib3.filepost import encode_multipart_formdata

from conveyor.errors import ConveyorError, InvalidInput, TooLarge
from conveyor.server.uploads.forms import FIELDS_LIMIT_BYTES, MOST_PARTS, FormReader

BOUNDARY = "----b"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, value: bytes, *, filename: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def read(body: bytes, *, step: int | None = None) -> tuple[str, dict[str, list[str]], bytes]:
    """(filename, fields, file) of a form that comes in steps of so many bytes."""
    reader, file = FormReader(TYPE), b""
    for start in range(0, len(body), step or len(body) or 1):
        reader.feed(body[start : start + (step or len(body))])
        file += b"".join(reader.take_file())
    filename, fields = reader.finish()
    return filename, {name: list(values) for name, values in fields.fields.items()}, file


@pytest.mark.parametrize("step", [None, 1, 7, 100])
def test_fields_and_file_are_told_apart_however_they_arrive(step: int | None) -> None:
    body = form(
        part("name", b"demo"),
        part("classifiers", b"a"),
        part("classifiers", "ü".encode()),
        part("content", b"\r\n--\r\nbytes\x00", filename="demo-1.0.tar.gz"),
        part("unheard_of", b""),
    )
    fields = {"name": ["demo"], "classifiers": ["a", "ü"], "unheard_of": [""]}
    assert read(body, step=step) == ("demo-1.0.tar.gz", fields, b"\r\n--\r\nbytes\x00")


def test_signature_and_attestations_are_fields() -> None:
    body = form(
        part("gpg_signature", b"\xff\xfe", filename="demo.asc"),
        part("attestations", b"[{}]"),
        part("content", b"x", filename="demo-1.0.tar.gz"),
    )
    assert read(body)[1] == {"gpg_signature": ["\ufffd\ufffd"], "attestations": ["[{}]"]}


def test_form_of_another_client_is_read() -> None:
    body, content_type = encode_multipart_formdata({"name": "demo", "content": ("ü.whl", b"x")})
    reader = FormReader(content_type)
    reader.feed(body)
    assert reader.take_file() == [b"x"]
    assert reader.finish()[0] == "ü.whl"


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/json", "multipart/form-data", f"multipart/mixed; boundary={BOUNDARY}"],
)
def test_other_bodies_than_multipart_forms_are_refused(content_type: str) -> None:
    with pytest.raises(InvalidInput, match="multipart/form-data"):
        FormReader(content_type)


def test_boundary_that_is_too_long_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        FormReader(f"multipart/form-data; boundary={'x' * 500}")


HEAD = f"--{BOUNDARY}\r\nContent-Disposition: ".encode()
FILE = part("content", b"x", filename="demo-1.0.tar.gz")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "cut off"),
        (form(FILE)[:-6], "cut off"),
        (FILE, "cut off"),
        (form(part("content", b"x")), "has no file"),
        (form(part("file", b"x", filename="a")), "has no file"),
        (form(), "has no file"),
        (form(FILE, FILE), "has two files"),
        (form(FILE.replace(b"\r\n\r\n", b"\r\nContent-Type: Image/PNG\r\n\r\n")), "sent as an image"),
        (b"no form at all", "cannot be read: it is cut off, or no part"),
        (form(f"--{BOUNDARY}\r\nX: y\r\n\r\nv\r\n".encode()), "Missing Content-Disposition"),
        (
            form(f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nv\r\n".encode()),
            "a part without a name",
        ),
        (form(f"--{BOUNDARY}\r\nX: {'y' * 99_999}\r\n\r\nv\r\n".encode()), "cannot be read"),
        (
            form(b"--" + BOUNDARY.encode() + b'\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\r\n'),
            "UTF-8",
        ),
    ],
)
def test_broken_form_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read(body)


def test_fields_are_bounded_all_together() -> None:
    half = bytes(FIELDS_LIMIT_BYTES // 2)
    with pytest.raises(TooLarge, match="fields of the upload form"):
        read(form(part("a", half), part("b", half), part("c", b"x"), FILE))
    with pytest.raises(TooLarge, match="parts"):
        read(form(*[part("a", b"")] * (MOST_PARTS + 1), FILE))


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([part("a", b"1"), FILE, b"--", BOUNDARY.encode(), b"\r\n", b"\x00", form()]),
        max_size=8,
    ),
    st.integers(1, 40),
)
def test_any_body_is_read_or_refused(pieces: list[bytes], step: int) -> None:
    body = b"".join(pieces)
    try:
        _, fields, file = read(body, step=step)
    except ConveyorError:
        return
    assert len(file) + sum(len(value) for values in fields.values() for value in values) <= len(body)
