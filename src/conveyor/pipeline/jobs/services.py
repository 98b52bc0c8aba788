"""Services of tests: programs that the job starts before the tests and ends after them.

A service is ready when its port or socket answers. One that dies, before or during the tests, fails the run
with its log: tests that pass without the service they ask for prove nothing.
"""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from conveyor.errors import MissingTool, StepFailed
from conveyor.pipeline.jails.inside import answers
from conveyor.project.foreign import Sight, started_foreign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from conveyor.pipeline.engine.isolation import Workplace
    from conveyor.pipeline.jails.wall import Shared
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
    name: str,
    wall: Shared | None = None,
) -> Iterator[dict[str, Running]]:
    """Start services one after the other, each when the one before it is ready; yield them by name.

    Args:
        services: as the project declares them.
        place: where their logs are kept.
        environment: whose programs come first on their ``PATH``.
        folder: their working folder, which is that of the tests.
        name: the step's name, for the logs.
        wall: the jail that they share with the tests; ``None``: they run without one.

    Raises:
        StepFailed: a service does not start, dies or does not become ready in time; carries its log.
    """
    with ExitStack() as stack:
        running: dict[str, Running] = {}
        for service in services:
            if _answers(service, folder, wall):
                raise StepFailed(
                    f"service {service.name} cannot be started: {_where(service)} answers already",
                    hint="end what listens there, or let the service and the tests use another one",
                )
            write = stack.enter_context(place.log(f"{name} service {service.name}"))
            words = environment.words(service.command)
            sight = Sight(environment.variables(), reads=(environment.path,), writes=(folder,), wall=wall)
            try:
                one = stack.enter_context(started_foreign(words, sight, folder=folder, on_line=write))
            except MissingTool as error:
                raise StepFailed(
                    f"service {service.name} cannot be started: {error.message}",
                    hint="install it on the worker, or name its path in command",
                ) from error
            _await(service, one, folder, wall)
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


def _await(service: Service, one: Running, folder: Path, wall: Shared | None) -> None:
    deadline = time.monotonic() + service.ready_seconds
    while not _answers(service, folder, wall):
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


def _answers(service: Service, folder: Path, wall: Shared | None) -> bool:
    path = folder / service.socket if service.socket is not None else None
    if wall is not None:
        return wall.answers(service.port, path)
    return answers(service.port, str(path))
