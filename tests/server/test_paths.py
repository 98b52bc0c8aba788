from __future__ import annotations

import pytest

from conveyor.server.api.routes import ENDPOINTS
from conveyor.server.http.problems import hint_of_path, nearest_shape


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/simple/foo", "/INDEX/simple/PROJECT/"),
        ("/unstable/simle/foo/", "/INDEX/simple/PROJECT/"),
        ("/pypi/simpel/foo/", "/INDEX/simple/PROJECT/"),
        ("/a/b/c/simple/", "/INDEX/simple/PROJECT/"),
        ("/unstable/legcay/", "/INDEX/legacy/"),
        ("/pypi/requests/json", "/INDEX/pypi/PROJECT/json"),
        ("/package/0a1b/demo-1.0.tar.gz", "/packages/SHA256/FILENAME"),
        ("/health", "/healthz"),
    ],
)
def test_hint_names_the_path_that_was_meant(path: str, shape: str) -> None:
    assert hint_of_path(path) == f"did you mean {shape}; / lists the indexes of this store"


@pytest.mark.parametrize("path", ["/nothing", "/unstable", "/unstable/demo/", "//", "/" + "a/" * 10_000])
def test_hint_of_what_resembles_nothing_is_where_projects_are(path: str) -> None:
    assert hint_of_path(path).startswith("a project's page is /INDEX/simple/PROJECT/; ")


def test_of_equally_near_shapes_the_order_in_which_they_come_decides_nothing() -> None:
    shapes = ("/{project}/size", "/{project}/status")
    assert {nearest_shape("/size/status", order) for order in (shapes, shapes[::-1])} == {shapes[1]}


@pytest.mark.parametrize("shape", ["/", "/INDEX/", "/{project}"])
def test_shape_without_words_is_never_the_nearest(shape: str) -> None:
    assert nearest_shape("/nothing", [shape]) is None
    assert nearest_shape("/simple/demo", [shape, "/INDEX/simple/PROJECT/"]) == "/INDEX/simple/PROJECT/"


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/project/demo", "/projects/{project}"),
        ("/projects/demo/release/1.0", "/projects/{project}/releases/{version}"),
        ("/token", "/tokens"),
        ("/runs/5/step/build", "/runs/{run}/steps/{name}"),
        ("/nothing", None),
    ],
)
def test_nearest_endpoint_is_found(path: str, shape: str | None) -> None:
    assert nearest_shape(path, {endpoint.path for endpoint in ENDPOINTS}) == shape
