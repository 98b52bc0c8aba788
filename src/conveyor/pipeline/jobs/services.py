"""Services of tests: programs that the job starts before the tests and ends after them.

A service is ready when its port or socket answers. One that dies, before or during the tests, fails the run
with its log: tests that pass without the service they ask for prove nothing.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from conveyor.errors import MissingTool, StepFailed
from conveyor.project.foreign import Sight, started_foreign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.project.declarations import Service
    from conveyor.project.environment import Environment
    from conveyor.project.foreign import Running

POLL_SECONDS = 0.05


@contextmanager
def running_services(
    services: tuple[Service, ...],
    place: Workplace,
    environment: Environment,
    *,
    folder: Path,
    variables: Mapping[str, str],
    name: str,
) -> Iterator[dict[str, Running]]:
    """Start services one after the other, each when the one before it is ready; yield them by name.

    Args:
        services: as the project declares them.
        place: where their logs are kept.
        environment: whose programs come first on their ``PATH``.
        folder: their working folder, which is that of the tests.
        variables: set on top of the clean ones.
        name: the step's name, for the logs.

    Raises:
        StepFailed: a service does not start, dies or does not become ready in time; carries its log.
    """
    with ExitStack() as stack:
        running: dict[str, Running] = {}
        for service in services:
            if _answers(service, folder):
                raise StepFailed(
                    f"service {service.name} cannot be started: {_where(service)} answers already",
                    hint="end what listens there, or let the service and the tests use another one",
                )
            write = stack.enter_context(place.log(f"{name} service {service.name}"))
            words = environment.words(service.command)
            sight = Sight(
                environment.variables() | dict(variables), reads=(environment.path,), writes=(folder,)
            )
            try:
                one = stack.enter_context(started_foreign(words, sight, folder=folder, on_line=write))
            except MissingTool as error:
                raise StepFailed(
                    f"service {service.name} cannot be started: {error.message}",
                    hint="install it on the worker, or name its path in command",
                ) from error
            _await(service, one, folder)
            running[service.name] = one
        yield running


def refuse_dead(services: Mapping[str, Running]) -> None:
    """Refuse tests during which a service died.

    Raises:
        StepFailed: names the first one and carries its log.
    """
    for name, one in services.items():
        if one.return_code is not None:
            raise StepFailed(
                f"service {name} ended with code {one.return_code} while the tests ran", log=one.output
            )


def _await(service: Service, one: Running, folder: Path) -> None:
    deadline = time.monotonic() + service.ready_seconds
    while not _answers(service, folder):
        if one.return_code is not None:
            raise StepFailed(
                f"service {service.name} ended with code {one.return_code} before {_where(service)} answered",
                log=one.output,
            )
        if time.monotonic() > deadline:
            raise StepFailed(
                f"service {service.name} was not ready after {service.ready_seconds} s: {_where(service)} "
                "does not answer",
                log=one.output,
                hint="correct its port or socket, or give it more time: ready_seconds",
            )
        time.sleep(POLL_SECONDS)


def _where(service: Service) -> str:
    return f"port {service.port}" if service.port is not None else f"socket {service.socket}"


def _answers(service: Service, folder: Path) -> bool:
    with suppress(OSError):
        if service.port is not None:
            with socket.create_connection(("127.0.0.1", service.port), timeout=1):
                return True
        assert service.socket is not None  # noqa: S101 - the declarations hold one of the two
        path = folder / service.socket
        # A socket's address holds 107 bytes at most, and the folder of a run may be longer.
        at = os.open(path.parent, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1)
                connection.connect(f"/proc/self/fd/{at}/{path.name}")
                return True
        finally:
            os.close(at)
    return False
