"""What is found inside built files: secrets that must never be published, and imports that nobody declared.

Secrets are found by the documented form of each kind, not by how random a text looks, so that a digest or a
picture in base64 is none. Imports are judged by name alone, since nothing is installed here: what cannot be
matched is worth a note, never an error.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LARGEST_SEARCHED_BYTES = 8_000_000
"""Larger members are models and data, in which a key by chance would take minutes to look for."""


@dataclass(frozen=True)
class _Form:
    kind: str
    pattern: bytes


_EDGE = rb"(?<![A-Za-z0-9_/+-])"
_FORMS = (
    # RFC 7468, sections 10 and 11; OpenSSH's PROTOCOL.key; RFC 9580, section 6.2 (OpenPGP)
    _Form(
        "a private key in PEM",
        rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
        rb"\s+(?:[\w-]+: [^\n]*\n\s*)*[A-Za-z0-9+/=]{40}",
    ),
    # AWS IAM user guide, "IAM identifiers", unique id prefixes
    _Form("an access key of AWS", _EDGE + rb"(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
    # GitHub docs, "About authentication", token formats
    _Form("a token of GitHub", _EDGE + rb"gh[pousr]_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    _Form("a token of GitHub", _EDGE + rb"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    # GitLab docs, "Token overview", token prefixes
    _Form("a token of GitLab", _EDGE + rb"gl(?:pat|dt|rt|ptt|ft)-[A-Za-z0-9_-]{20,64}(?![A-Za-z0-9_-])"),
    # PyPI help, "API tokens": pypi- and a macaroon, whose first bytes are always the same
    _Form("a token of a package index", _EDGE + rb"pypi-AgEI[A-Za-z0-9_-]{70,}"),
    # Slack API docs, "Token types"
    _Form("a token of Slack", _EDGE + rb"xox[abeprs]-[0-9]{8,}-[A-Za-z0-9-]{20,}"),
    # Google Cloud docs, "Manage API keys"
    _Form("an API key of Google", _EDGE + rb"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    # Hugging Face Hub docs, "User access tokens"
    _Form("a token of Hugging Face", _EDGE + rb"hf_[A-Za-z]{34}(?![A-Za-z0-9])"),
    # npm docs, "About access tokens"
    _Form("a token of npm", _EDGE + rb"npm_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
    # Stripe docs, "API keys"
    _Form("a key of Stripe", _EDGE + rb"[rs]k_live_[A-Za-z0-9]{24,}"),
)
_ANY = re.compile(b"|".join(b"(" + form.pattern + b")" for form in _FORMS))
_BEGINNINGS = re.compile(
    rb"PRIVATE KEY|AKIA|ASIA|gh[pousr]_|github_pat_|gl[a-z]+-|pypi-A|xox[abeprs]-|AIza|hf_|npm_|k_live_"
)


def secrets_in(content: bytes) -> list[tuple[str, int]]:
    """The secrets in a file: the kind of each and its line, without the secret itself.

    Keys that documentation uses as examples, such as ``AKIAIOSFODNN7EXAMPLE``, are none.
    """
    if not _BEGINNINGS.search(content):
        return []
    found = []
    for match in _ANY.finditer(content):
        if b"EXAMPLE" in match[0]:
            continue
        kind = _FORMS[(match.lastindex or 1) - 1].kind
        found.append((kind, content.count(b"\n", 0, match.start()) + 1))
    return found


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
        if _TESTS & set(path.split("/")[:-1]):
            continue
        for name in _imported(modules[path]):
            known = name in ours or name in sys.stdlib_module_names or name in _OF_EVERY_PYTHON
            if not known and not _could_be(name, declared):
                found.setdefault(name, path)
    return found


_TESTS = {"test", "tests", "testing"}
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
