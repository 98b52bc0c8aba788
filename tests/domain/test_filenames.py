from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.domain.distributions.filenames import MOST_TAGS, count_tags, distribution_filename
from conveyor.errors import InvalidDistribution


@pytest.mark.parametrize(
    ("text", "project", "version", "python_tag"),
    [
        ("demo-1.0-py3-none-any.whl", "demo", "1.0", "py3"),
        ("demo_pkg-1!2.0rc1-py2.py3-none-any.whl", "demo-pkg", "1!2.0rc1", "py2.py3"),
        ("demo-1.3.0.dev4+g1a2b3c4-cp311-cp311-linux_x86_64.whl", "demo", "1.3.0.dev4+g1a2b3c4", "cp311"),
        ("demo-1.0-1a-cp311-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", "demo", "1.0", "cp311"),
        ("demo-2015.09.15b-cp33-none-win32.whl", "demo", "2015.9.15b0", "cp33"),
        ("demo-0.12.18_beta.2-py3-none-any.whl", "demo", "0.12.18b2", "py3"),
        ("demo_pkg-1.0.tar.gz", "demo-pkg", "1.0", "source"),
        ("demo-1.0+g1.tar.gz", "demo", "1.0+g1", "source"),
    ],
)
def test_sound_filenames_are_read(text: str, project: str, version: str, python_tag: str) -> None:
    name = distribution_filename(text)
    assert (name.project, str(name.version), name.python_tag, name.text) == (
        project,
        version,
        python_tag,
        text,
    )


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("Demo-1.0-py3-none-any.whl", "demo-1.0-py3-none-any.whl"),
        ("demo.pkg-1.0-py3-none-any.whl", "demo_pkg-1.0-py3-none-any.whl"),
        ("demo-1.0.0-RC1-py3-none-any.whl", None),
        ("demo-pkg-1.0.tar.gz", "demo_pkg-1.0.tar.gz (PEP 625)"),
        ("Demo_Pkg-1.0.tar.gz", "demo_pkg-1.0.tar.gz (PEP 625)"),
        ("demo-1.0.RC1.tar.gz", "demo-1.0rc1.tar.gz (PEP 625)"),
    ],
)
def test_other_spellings_are_refused_and_the_right_one_named(text: str, right: str | None) -> None:
    with pytest.raises(InvalidDistribution) as caught:
        distribution_filename(text)
    if right is not None:
        assert f"it must be {right}" in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo.whl",
        "demo-1.0.zip",
        "demo-1.0.egg",
        "demo-1.0-py3-none.whl",
        "demo-one-py3-none-any.whl",
        "demo-1.0-x1-py3-none-any.whl",
        "demo-1.0-py3--any.whl",
        "demo-1.0-py3-none-any.whl.tar.gz",
        "demo.tar.gz",
        "demo-.tar.gz",
        "-1.0.tar.gz",
        "../demo-1.0.tar.gz",
        "a/demo-1.0.tar.gz",
        "demo-1.0-py3-none-any.whl\n",
        "demo\x00-1.0-py3-none-any.whl",
        "dämo-1.0-py3-none-any.whl",
        f"demo-1.0-{'a' * 300}-none-any.whl",
    ],
)
def test_what_is_no_filename_of_a_distribution_is_refused(text: str) -> None:
    with pytest.raises(InvalidDistribution):
        distribution_filename(text)


def test_tags_that_multiply_are_refused_before_they_are_expanded() -> None:
    many = ".".join(["a"] * 35)
    text = f"demo-1.0-{many}-{many}-{many}.whl"
    assert count_tags(f"{many}-{many}-{many}") > MOST_TAGS
    with pytest.raises(InvalidDistribution, match="too many tags"):
        distribution_filename(text)


@given(st.text(alphabet="demo-1.0_py3nan.whltargz+!R", max_size=60), st.sampled_from(["", ".whl", ".tar.gz"]))
def test_a_filename_that_passes_is_the_one_that_its_parts_spell(stem: str, end: str) -> None:
    try:
        name = distribution_filename(stem + end)
    except InvalidDistribution:
        return
    assert name.text == stem + end
    assert name.text.startswith(f"{name.project.replace('-', '_')}-")
    assert end == ".whl" or name.text == f"{name.stem}.tar.gz"
