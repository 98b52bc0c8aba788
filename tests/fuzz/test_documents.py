"""Every parser of foreign text: it reads what it is handed or refuses it in our words, in linear time."""

from __future__ import annotations

import base64
import json
import time
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import pytest

from conveyor.domain.distributions.attestations import read_attestations
from conveyor.domain.distributions.filenames import distribution_filename
from conveyor.domain.distributions.metadata import read_metadata
from conveyor.domain.distributions.partial_wheels import MissingPart, PartialFile, read_wheel_metadata
from conveyor.domain.distributions.wheels import parse_record
from conveyor.domain.indexes.simple_api import accepts_encoding, negotiate, version_in_filename
from conveyor.domain.people.keys import parse_public_key, read_public_key
from conveyor.domain.people.openpgp import read_certificate, read_signature
from conveyor.domain.releases.evidence import read_envelope, read_statement, statement
from conveyor.domain.releases.tags import parse_signed_tag
from conveyor.domain.words.faults import Faults
from conveyor.domain.words.notation import read_json
from conveyor.domain.words.ranges import etag_matches, parse_ranges
from conveyor.errors import ConveyorError
from conveyor.operations.releases.verification import read_bundle
from conveyor.server.http.auth import MAX_HEADER_LENGTH, _credentials
from conveyor.server.uploads.forms import FormReader
from conveyor.upstream.pages import PageReader
from distributions_made import core_metadata
from fuzz.zip_mutations import damaged, mutated_wheel

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH = 100_000
CPU_SECONDS = 2.0
"""A linear parser takes a hundredth of it for such a text, a quadratic one several times as much."""
DAMAGED, MANY_DAMAGED = 300, 20_000
TOKENS = (
    *("a", " ", ",", ";", "=", "\n", "\r\n", "(", "[", "{", '"', "<", "&", "1", "1.", "0,", "a;q=0.1,", "\\"),
    *("\t", "--b\r\n", "<a href=x>", "<!--", "&#", "a@b,", "a-", "(a", "a or ", "!", "\0", "é", "A: b\n"),
    *("-----BEGIN SSH SIGNATURE-----\n", "a::", "[a]\n", "1!", "==1,", "<b", "</", "<?", "%0", "'", '{"a":'),
)
HEAD = core_metadata().removesuffix(b"\n").decode()


def page(text: str, *, content_type: str) -> object:
    reader = PageReader("http://upstream/simple/demo/", content_type=content_type, charset="utf-8")
    reader.feed(text.encode(), is_last=True)
    return reader.page("e")


def form(text: str) -> object:
    reader = FormReader("multipart/form-data; boundary=b")
    reader.feed(text.encode())
    return reader.finish()


def metadata(before: str, text: str) -> object:
    return read_metadata(f"{HEAD}{before}{text}\n".encode(), what="METADATA", faults=Faults())


def armoured(content: bytes, what: str) -> str:
    encoded = base64.b64encode(content).decode()
    return f"-----BEGIN PGP {what}-----\n\n{encoded}\n-----END PGP {what}-----\n"


PARSERS: dict[str, Callable[[str], object]] = {
    "Accept": negotiate,
    "Accept-Encoding": lambda text: accepts_encoding(text, "gzip"),
    "Authorization": lambda text: _credentials(f"Basic {text}"[:MAX_HEADER_LENGTH].encode()),
    "Content-Type": lambda text: FormReader(f"multipart/form-data; boundary=b; {text}"),
    "If-None-Match": lambda text: etag_matches(text, '"e"'),
    "Range": lambda text: parse_ranges(f"bytes={text}", 10**6),
    "form": form,
    "headers of a part": lambda text: form(f"--b\r\nContent-Disposition: form-data; {text}"),
    "JSON": lambda text: read_json(text.encode(), what="the body"),
    "text in JSON": lambda text: read_json(json.dumps({"a": text}).encode(), what="the body"),
    "envelope": lambda text: read_envelope(text.encode()),
    "statement": lambda text: read_statement(text.encode()),
    "attestations": lambda text: read_attestations([text], filename="f", sha256="0" * 64, faults=Faults()),
    "tag": lambda text: parse_signed_tag(text.encode()),
    "SSH key": parse_public_key,
    "bundle": lambda text: read_bundle(text.encode()),
    "OpenPGP key": lambda text: read_certificate(armoured(text.encode(), "PUBLIC KEY BLOCK")),
    "OpenPGP signature": lambda text: read_signature(armoured(b"\x89" + text.encode(), "SIGNATURE").encode()),
    "armour": read_certificate,
    "PEM key": read_public_key,
    "filename of a wheel": lambda text: distribution_filename(f"demo-{text}.whl"),
    "filename of an sdist": lambda text: distribution_filename(f"demo-{text}.tar.gz"),
    "version in a filename": lambda text: version_in_filename(f"demo-{text}.tar.gz"),
    "RECORD": lambda text: parse_record(text.encode(), Faults()),
    "page in HTML": lambda text: page(text, content_type="text/html"),
    "link in HTML": lambda text: page(f'<a href="{text}', content_type="text/html"),
    "page in JSON": lambda text: page(text, content_type="application/json"),
    **{
        f"metadata, {field}": partial(metadata, f"{field}: ")
        for field in (
            *("Requires-Dist", "Requires-Python", "Classifier", "Author-email", "License-Expression"),
            *("Project-URL", "Description-Content-Type", "Keywords", "Dynamic"),
        )
    },
    "metadata": partial(metadata, ""),
}
SOUND = (
    '{"meta":{"api-version":"1.4"},"name":"demo","files":[{"filename":"demo-1.0.tar.gz","url":"demo.gz",'
    '"hashes":{"sha256":"%s"},"size":1,"yanked":false,"upload-time":"2026-11-21T08:00:00Z"}]}' % ("0" * 64),
    '<a href="demo-1.0.tar.gz#sha256=%s" data-yanked="x">demo-1.0.tar.gz</a></body>' % ("0" * 64),
    (
        f"{HEAD}Requires-Dist: a[b] (>=1,<2) ; python_version < '3' and extra == 'c'\n"
        "Author-email: A <a@b>\n\nText\n"
    ),
    statement("build", filename="demo-1.0.tar.gz", sha256="0" * 64, predicate={"project": "demo"}).decode(),
    '{"payload":"e30=","payloadType":"application/vnd.in-toto+json","signatures":[{"keyid":"k","sig":"AAAA"}]}',
    (
        f"object {'0' * 40}\ntype commit\ntag v1.0\ntagger A <a@b> 1 +0000\n\nm\n"
        "-----BEGIN SSH SIGNATURE-----\nAAAA\n"
    ),
    "text/html;q=0.5, application/vnd.pypi.simple.v1+json; q=1, */*;q=0.1",
    "0-1,5-,-3",
    "demo/a.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\ndemo-1.0.dist-info/RECORD,,\n",
    '--b\r\nContent-Disposition: form-data; name="content"; filename="a.whl"\r\n\r\nx\r\n--b--\r\n',
)
"""Texts that one parser or another takes; damaged, they are handed to all of them."""


def read_or_refused(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except ConveyorError:
        return


@pytest.mark.parametrize("name", PARSERS)
def test_long_text_is_read_or_refused_in_linear_time(name: str) -> None:
    for token in TOKENS:
        for end in ("", ">"):
            text = token * (LENGTH // len(token)) + end
            before = time.process_time()
            read_or_refused(PARSERS[name], text)
            assert time.process_time() - before < CPU_SECONDS, repr(token)


def check_damaged(seeds: range) -> None:
    for seed in seeds:
        chance = Random(seed)  # noqa: S311 - repeatable, not secret
        content = chance.choice(SOUND).encode()
        for _ in range(chance.randint(1, 4)):
            content = damaged(content, chance)
        text = content.decode("latin-1")
        for parse in PARSERS.values():
            read_or_refused(parse, text)


def test_damaged_text_is_read_or_refused() -> None:
    check_damaged(range(DAMAGED))


@pytest.mark.torture
@pytest.mark.timeout(1200)
def test_much_damaged_text_is_read_or_refused() -> None:
    check_damaged(range(10**6, 10**6 + MANY_DAMAGED))


def check_partial_wheels(seeds: range) -> None:
    """Metadata is read from parts: in few steps, each asking for bytes that there are, or not at all."""
    for seed in seeds:
        chance = Random(seed)  # noqa: S311 - repeatable, not secret
        content = damaged(mutated_wheel(chance), chance) if seed % 2 else mutated_wheel(chance)
        here = PartialFile(len(content))
        for _ in range(20):
            try:
                read_wheel_metadata(here, filename="demo-1.0-py3-none-any.whl")
            except MissingPart as missing:
                start, end = missing.start, missing.end
            except ConveyorError:
                break
            else:
                break
            assert 0 <= start < end <= len(content), f"seed {seed}"
            here.add(start, content[start:end])
        else:
            raise AssertionError(f"seed {seed}: it asks forever")


def test_damaged_wheel_is_read_from_few_parts() -> None:
    check_partial_wheels(range(DAMAGED * 5))


@pytest.mark.torture
def test_many_damaged_wheels_are_read_from_few_parts() -> None:
    check_partial_wheels(range(10**6, 10**6 + MANY_DAMAGED))
