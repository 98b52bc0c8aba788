"""What is found inside built files: secrets that must never be published, and imports that nobody declared.

Secrets are found by the documented form of each kind, not by how random a text looks, so that a digest or a
picture in base64 is none. Imports are judged by name alone, since nothing is installed here: what cannot be
matched is worth a note, never an error.
"""

from __future__ import annotations

import ast
import binascii
import re
import sys
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from conveyor.project.settings import TEST_FOLDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LARGEST_SEARCHED_BYTES = 8_000_000
"""Larger members are models and data, in which a key by chance would take minutes to look for."""


@dataclass(frozen=True)
class _Form:
    kind: str
    beginning: bytes
    """An expression for its first characters; the rest is tried only where it is found."""
    rest: bytes
    is_token: bool = True
    """Whether ``EXAMPLE`` among its own characters marks it as one of documentation; a key has comments."""


_END = rb"(?![A-Za-z0-9])"
# Between the lines of a key: a line's end, as itself or escaped once or more (JSON, .env, source code), and
# what joins literals or comments a line out. No two alternatives begin alike, so nothing is tried twice.
_BREAK = rb"(?:[\r\n]|\\+[nr])"
_GAP = rb"(?:\s|\\+[nrt]|[\"'+,#*|>()]|[bBrRuU](?=[\"']))"
_HEADERS = rb"(?:[\w-]{1,40}: (?:[^\r\n\\]|\\(?![nr\\])){0,200}" + _BREAK + _GAP + rb"{0,200})*"
_BASE64 = rb"(?:[A-Za-z0-9+/=]|\\/)"
_FORMS = (
    # RFC 7468, sections 10 and 11; OpenSSH's PROTOCOL.key; RFC 9580, section 6.2 (OpenPGP)
    _Form(
        "a private key in PEM",
        rb"-----BEGIN ",
        rb"(?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----" + _GAP + rb"{1,200}" + _HEADERS + _BASE64 + rb"{40}",
        is_token=False,
    ),
    # PuTTY manual, appendix C, "PPK file format"
    _Form(
        "a private key of PuTTY",
        rb"PuTTY-User-Key-File-[0-9]: ",
        rb"(?s:.){1,20000}?Private-Lines: [0-9]+" + _GAP + rb"{1,200}" + _BASE64 + rb"{6,}(?=[\s\\\"'])",
        is_token=False,
    ),
    # AWS IAM user guide, "IAM identifiers", unique id prefixes
    _Form("an access key of AWS", rb"AKIA|ASIA", rb"[A-Z2-7]{16}" + _END),
    # GitHub docs, "About authentication", token formats
    _Form("a token of GitHub", rb"gh[pousr]_", rb"[A-Za-z0-9]{36}" + _END),
    _Form("a token of GitHub", rb"github_pat_", rb"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    # GitLab docs, "Token overview", token prefixes
    _Form("a token of GitLab", rb"gl(?:pat|dt|rt|ptt|ft)-", rb"[A-Za-z0-9_-]{20,300}(?![A-Za-z0-9_-])"),
    # PyPI help, "API tokens": pypi- and a macaroon, whose first bytes name the index or its test instance
    _Form("a token of a package index", rb"pypi-AgE[IN]", rb"[A-Za-z0-9_-]{70,}"),
    # Slack API docs, "Token types"
    _Form("a token of Slack", rb"xox[abeprs]-", rb"[0-9]{8,}-[A-Za-z0-9-]{20,}"),
    # Google Cloud docs, "Manage API keys"
    _Form("an API key of Google", rb"AIza", rb"[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    # Hugging Face Hub docs, "User access tokens"
    _Form("a token of Hugging Face", rb"hf_", rb"[A-Za-z0-9]{34}" + _END),
    # npm docs, "About access tokens"
    _Form("a token of npm", rb"npm_", rb"[A-Za-z0-9]{36}" + _END),
    # Stripe docs, "API keys"
    _Form("a key of Stripe", rb"[rs]k_live_", rb"[A-Za-z0-9]{24,}"),
    # Anthropic API docs, "Authentication"
    _Form("a key of Anthropic", rb"sk-ant-", rb"[a-z]{2,10}[0-9]{2}-[A-Za-z0-9_-]{80,}"),
    # OpenAI's keys carry its name in base64 between two random halves
    _Form("a key of OpenAI", rb"sk-", rb"[A-Za-z0-9_-]{20,200}?T3BlbkFJ[A-Za-z0-9_-]{20,}"),
    # Databricks docs, "Personal access tokens"
    _Form("a token of Databricks", rb"dapi", rb"[0-9a-f]{32}(?:-[0-9])?" + _END),
    # conveyor store token create: 256 bits; a capital letter tells it from a name of so many words
    _Form(
        "a token of a Conveyor store",
        rb"conveyor-",
        rb"(?=[a-z0-9_-]*[A-Z])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])",
    ),
)
_EDGE = rb"(?<![A-Za-z0-9])"
_SEARCHES = [
    (
        form,
        re.compile(form.beginning),
        re.compile((_EDGE if form.is_token else b"") + b"(?:" + form.beginning + b")" + form.rest),
    )
    for form in _FORMS
]
# "-----BEGIN " in base64, as it begins at each of the three places of a group.
_WRAPPED = re.compile(rb"LS0tLS1CRUdJTi|0tLS0tQkVHSU4g|tLS0tLUJFR0lOI")
_IN_BASE64 = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_LARGEST_WRAPPED_BYTES = 8_000


def secrets_in(content: bytes) -> list[tuple[str, int]]:
    """The secrets in a file: the kind of each and its line, without the secret itself.

    A key counts however a file spells its lines: as they are, escaped, in literals, in base64, as UTF-16.
    Tokens that documentation uses as examples, such as ``AKIAIOSFODNN7EXAMPLE``, are none.
    """
    content = _narrowed(content)
    found = [(form.kind, start) for form, start in _found(content)]
    for match in _WRAPPED.finditer(content):
        inside = _found(_unwrapped(content, match.start()))
        found += [(f"{form.kind}, in base64", match.start()) for form, _ in inside if not form.is_token][:1]
    return [(kind, content.count(b"\n", 0, start) + 1) for kind, start in sorted(found, key=itemgetter(1))]


def _found(content: bytes) -> Iterator[tuple[_Form, int]]:
    """Each secret's form, and where it begins."""
    for form, beginning, whole in _SEARCHES:  # as one expression, they take ten times longer
        for match in beginning.finditer(content):
            secret = whole.match(content, match.start())
            if secret is not None and not (form.is_token and b"EXAMPLE" in secret[0]):
                yield form, match.start()


def _narrowed(content: bytes) -> bytes:
    """A text in UTF-16 without the half of its bytes that is zero for every character of a secret."""
    is_wide = content[:2] in (b"\xff\xfe", b"\xfe\xff") or any(
        len(content) > 8 and not content[first:64:2].strip(b"\0") for first in (0, 1)
    )
    return content.replace(b"\0", b"") if is_wide else content


def _unwrapped(content: bytes, start: int) -> bytes:
    """What the text in base64 around a place says, over the ends of its lines."""
    before = content[max(0, start - _LARGEST_WRAPPED_BYTES) : start]
    first = start - len(re.split(rb"[^A-Za-z0-9+/]", before)[-1])
    words = re.sub(rb"[\s\"',]|\\+[nrt]", b"", content[first : start + _LARGEST_WRAPPED_BYTES])
    found = _IN_BASE64.match(words)
    text = found[0].rstrip(b"=") if found else b""
    return binascii.a2b_base64(text[: len(text) // 4 * 4])


def undeclared_imports(
    modules: Mapping[str, bytes], requires: Iterable[str], own: Iterable[str] = ()
) -> dict[str, str]:
    """What the modules of a wheel import, by the name of the first module that does so.

    Counted are imports that run whenever the module is imported: not those in functions, in ``try``, under
    ``if`` or in tests. Left out are the standard library, the wheel's own modules, and every name that a
    declared requirement could stand for.

    Args:
        modules: the wheel's Python files by their path in it.
        requires: its ``Requires-Dist``, extras included.
        own: further names that the wheel or its project brings, such as compiled modules.
    """
    ours = {path.partition("/")[0].removesuffix(".py") for path in modules} | set(own)
    declared = {name for one in requires for name in _names_of(one)}
    found: dict[str, str] = {}
    for path in sorted(modules):
        if _OF_TESTS & set(path.split("/")[:-1]):
            continue
        for name in _imported(modules[path]):
            known = name in ours or name in sys.stdlib_module_names or name in _OF_EVERY_PYTHON
            if not known and not _could_be(name, declared):
                found.setdefault(name, path)
    return found


_OF_TESTS = {*TEST_FOLDERS, "testing"}
_OF_EVERY_PYTHON = {"__future__", "_typeshed", "distutils", "imp", "asyncore", "asynchat", "smtpd", "tomllib"}
_OTHER_NAMES = {
    "attr": "attrs", "bs4": "beautifulsoup4", "cv2": "opencv", "Crypto": "pycryptodome",
    "dateutil": "python-dateutil", "docx": "python-docx", "dotenv": "python-dotenv", "fitz": "pymupdf",
    "git": "gitpython", "jose": "python-jose", "jwt": "pyjwt", "magic": "python-magic",
    "mpl_toolkits": "matplotlib", "OpenSSL": "pyopenssl", "PIL": "pillow", "pkg_resources": "setuptools",
    "pptx": "python-pptx", "psycopg2": "psycopg2-binary", "serial": "pyserial", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "socks": "pysocks", "usb": "pyusb", "win32api": "pywin32", "yaml": "pyyaml",
    "zmq": "pyzmq", "_pytest": "pytest", "pylab": "matplotlib", "markdown_it": "markdown-it-py",
}  # fmt: skip
"""Modules whose distribution has another name."""


def _names_of(requirement: str) -> Iterator[str]:
    try:
        yield canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement:
        return


def _could_be(module: str, declared: set[str]) -> bool:
    """Whether a declared requirement may bring a module: one name within the other, without separators."""
    name = canonicalize_name(module)
    other = _OTHER_NAMES.get(module)
    short = name.replace("-", "")
    return any(
        short in one.replace("-", "") or one.replace("-", "") in short or (other is not None and other in one)
        for one in declared
    )


def _imported(content: bytes) -> set[str]:
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return set()
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found
