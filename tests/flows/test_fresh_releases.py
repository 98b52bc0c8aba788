"""What was acknowledged is there for the next call, whatever a client keeps from the call before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from certificates import make_certificate
from conveyor.client.store import connect
from distributions_made import make_wheel
from flows.clients import installed_in, new_installer, versions_of
from flows.fronts import running_front

if TYPE_CHECKING:
    from pathlib import Path

    from flows.clients import Client
    from flows.stocked_stores import StockedStore

pytestmark = [pytest.mark.slow]


def newest_with_pip(pip: Client, project: str, index: str, certificate: str) -> str:
    """Install what pip finds newest and return its version."""
    options = ("--upgrade", "--force-reinstall", "--cert", certificate, "--index-url", index)
    pip.call("pip", "install", *options, project).succeeded()
    return installed_in(pip)[project]


def newest_with_uv(uv: Client, project: str, index: str, _certificate: str) -> str:
    """Install what uv finds newest and return its version."""
    options = ("--python", str(uv.environment.python), "--reinstall", "--index-url", index)
    uv.call("uv", "--no-config", "pip", "install", *options, "--upgrade", project).succeeded()
    return installed_in(uv)[project]


@pytest.mark.parametrize("name", ["pip", "uv"])
def test_next_call_sees_an_upload_and_a_yank(stocked: StockedStore, tmp_path: Path, name: str) -> None:
    """Pip keeps pages that came over HTTPS only, so it goes through a front; uv keeps all."""
    installer = new_installer(name, versions_of(name)[-1], folder=tmp_path / "environment", home=tmp_path)
    project, certificate = f"fresh-{name}", make_certificate(tmp_path)
    with (
        connect(stocked.running.url, token=stocked.token) as store,
        running_front(stocked.running.url, certificate=certificate) as front,
    ):

        def newest() -> str:
            url = f"{front.url if name == 'pip' else stocked.running.url}/unstable/simple/"
            install = newest_with_pip if name == "pip" else newest_with_uv
            return install(installer, project, url, certificate[0])

        store.files.upload("unstable", make_wheel(project, "1.0").write(tmp_path))
        assert newest() == "1.0"
        store.files.upload("unstable", make_wheel(project, "1.1").write(tmp_path))
        assert newest() == "1.1"
        store.releases.yank(project, "1.1", reason="a mistake")
        assert newest() == "1.0"
