"""The manifest of a model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conveyor.domain.distributions.models import ManifestFile, parse_manifest
from conveyor.errors import InvalidInput

DIGEST = "ab" * 32


def document(**changes: Any) -> bytes:
    good = {
        "format": 1,
        "files": [{"path": "model.joblib", "sha256": DIGEST}],
        "schema_sha256": DIGEST,
        "libraries": {"scikit-learn": "1.9.1"},
        "metrics": {"accuracy": 1},
        "split": "143 rows held out of 569",
    }
    return json.dumps(good | changes).encode()


def test_manifest_is_read_and_unknown_keys_are_left_alone() -> None:
    manifest = parse_manifest(document(training={"seed": 20}))
    assert manifest.files == (ManifestFile("model.joblib", DIGEST),)
    assert manifest.metrics == {"accuracy": 1.0}
    assert manifest.libraries == {"scikit-learn": "1.9.1"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "format is 2"),
        ({"version": "1.0"}, "it holds the version"),
        ({"files": []}, "files"),
        ({"files": [{"path": "../x", "sha256": DIGEST}]}, "files"),
        ({"files": [{"path": "x", "sha256": "12"}]}, "files"),
        ({"schema_sha256": None}, "schema_sha256"),
        ({"libraries": ["numpy"]}, "libraries"),
        ({"metrics": {"accuracy": "good"}}, "metrics"),
        ({"metrics": {"accuracy": True}}, "metrics"),
        ({"metrics": {"loss": float("nan")}}, "metrics"),
        ({"metrics": {"loss": 10**400}}, "metrics"),
        ({"split": None}, "split"),
    ],
)
def test_fault_of_a_manifest_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse_manifest(document(**changes))


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_manifest(document(files=None, metrics=None, split=None))
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"3"])
def test_what_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_manifest(content)


@pytest.mark.parametrize("content", [document()[:-1], document()[:40], b"", b"[" * 100_000])
def test_manifest_that_is_cut_off_is_called_so(content: bytes) -> None:
    with pytest.raises(InvalidInput, match=rf"model\.json \({len(content)} bytes\) is cut off or damaged"):
        parse_manifest(content)
