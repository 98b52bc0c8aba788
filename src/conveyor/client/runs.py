"""Pipeline runs: request, claim, report on and read them; what asks for some, and who is told of changes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conveyor.client.connection import Request, api_path, ask_for, ask_for_all, ask_for_any
from conveyor.domain.notices.receivers import Delivery, Receiver, ReceiverMade
from conveyor.domain.runs.repositories import Repository, RepositoryRemoval
from conveyor.domain.runs.states import (
    NewRun,
    OutputBatch,
    OutputReport,
    OutputTaken,
    Run,
    RunClaim,
    RunReason,
    RunSettings,
    RunToken,
    StepReport,
)
from conveyor.domain.runs.webhooks import Webhook, WebhookMade

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.client.connection import Connection
    from conveyor.domain.notices.receivers import NewReceiver
    from conveyor.domain.runs.repositories import NewRepository
    from conveyor.domain.runs.states import RunReport, StepState
    from conveyor.domain.runs.webhooks import NewWebhook


def log_command(run_id: int, store_url: str) -> str:
    """The command that shows what became of a run."""
    return shlex.join(["conveyor", "pipeline", "log", str(run_id), "--store", store_url])


@dataclass(frozen=True)
class Runs:
    """The pipeline runs of a store."""

    connection: Connection

    def newest(self, *, limit: int = 50) -> tuple[Run, ...]:
        """The newest runs, newest first."""
        return ask_for_all(self.connection, Request("GET", api_path("runs", limit=limit)), "runs", Run)

    def get(self, run_id: int) -> Run:
        """One run with its steps; raises NotFound."""
        return ask_for(self.connection, Request("GET", api_path("runs", run_id)), Run)

    def create(
        self,
        repository: str,
        ref: str,
        *,
        index: str | None = None,
        project: str | None = None,
        claim: bool = False,
        version: str | None = None,
        tests_again: bool = False,
    ) -> Run:
        """Request a run of a commit or tag; ``index`` is where its release enters.

        ``None`` means the only index where runs of this caller can enter, and the only project of the commit.
        With ``claim`` the caller, who is a worker, holds it at once; with ``version`` it only tests the
        release that is in the index. ``tests_again``: earlier results of tests do not count for it.
        """
        body = NewRun(repository, ref, index, project, claim, version, tests_again)
        return ask_for(self.connection, Request("POST", api_path("runs"), json_body=body), Run)

    def claim(self, worker: str, *, run_id: int | None = None, held_by: str | None = None) -> Run | None:
        """Claim the next requested run, or this one; ``None`` if no run waits.

        ``held_by`` is the worker that holds it and has ended; ``None``: nobody holds it yet.
        """
        body = RunClaim(worker, run_id, held_by)
        request = Request("POST", api_path("runs", "claim"), json_body=body)
        return ask_for_any(self.connection, request, Run)

    def token(self, run_id: int) -> RunToken:
        """A token for a run that this worker holds; raises Conflict if the run has ended."""
        request = Request("POST", api_path("runs", run_id, "token"), may_repeat=True)
        return ask_for(self.connection, request, RunToken)

    def report_step(
        self, run_id: int, name: str, state: StepState, detail: Mapping[str, Any] | str | None = None
    ) -> Run:
        """Write the state of one step of a run that this worker holds; a string is its summary."""
        body = StepReport(state, detail)
        request = Request("PUT", api_path("runs", run_id, "steps", name), json_body=body)
        return ask_for(self.connection, request, Run)

    def add_output(self, run_id: int, report: OutputReport) -> OutputTaken:
        """Hand in what the programs of a run that this worker holds have written, each batch once."""
        request = Request("POST", api_path("runs", run_id, "output"), json_body=report)
        return ask_for(self.connection, request, OutputTaken)

    def output(self, run_id: int, *, after: int = 0) -> tuple[OutputBatch, ...]:
        """What they have written, some of the batches after that number; empty if there is no more yet."""
        path = api_path("runs", run_id, "output", after=after)
        return ask_for_all(self.connection, Request("GET", path), "output", OutputBatch)

    def cancel(self, run_id: int, reason: str | None = None) -> Run:
        """End a run that waits or is under way; raises NotFound, Conflict."""
        return self._order(run_id, "cancellation", reason)

    def retry(self, run_id: int, reason: str | None = None) -> Run:
        """Request a run that has ended once more; the new run. Raises NotFound, Conflict."""
        return self._order(run_id, "retry", reason)

    def _order(self, run_id: int, order: str, reason: str | None) -> Run:
        path = api_path("runs", run_id, order)
        return ask_for(self.connection, Request("POST", path, json_body=RunReason(reason)), Run)

    def settings(self) -> RunSettings:
        """How many runs are under way at a time, and for how long they are kept."""
        return ask_for(self.connection, Request("GET", api_path("run-settings")), RunSettings)

    def set_settings(self, settings: RunSettings) -> RunSettings:
        """Change both."""
        request = Request("PUT", api_path("run-settings"), json_body=settings)
        return ask_for(self.connection, request, RunSettings)

    def update(self, run_id: int, report: RunReport) -> Run:
        """Write what the worker that holds a run found out."""
        request = Request("PATCH", api_path("runs", run_id), json_body=report, may_repeat=True)
        return ask_for(self.connection, request, Run)


@dataclass(frozen=True)
class Repositories:
    """The repositories for which runs may be requested."""

    connection: Connection

    def all(self) -> tuple[Repository, ...]:
        """Every registered repository, by project."""
        request = Request("GET", api_path("repositories"))
        return ask_for_all(self.connection, request, "repositories", Repository)

    def add(self, asked: NewRepository) -> Repository:
        """Allow runs of a repository to be requested and to release this project."""
        request = Request("POST", api_path("repositories"), json_body=asked)
        return ask_for(self.connection, request, Repository)

    def remove(self, project: str, url: str) -> None:
        """Stop runs of a repository from releasing this project."""
        body = RepositoryRemoval(project, url)
        self.connection.send(Request("POST", api_path("repositories", "removals"), json_body=body))

    def webhooks(self) -> tuple[Webhook, ...]:
        """Every webhook, by repository."""
        return ask_for_all(self.connection, Request("GET", api_path("webhooks")), "webhooks", Webhook)

    def add_webhook(self, asked: NewWebhook) -> WebhookMade:
        """Register a webhook of a registered repository; its secret is in the answer, this once."""
        return ask_for(self.connection, Request("POST", api_path("webhooks"), json_body=asked), WebhookMade)

    def remove_webhook(self, webhook_id: str) -> None:
        """Refuse the deliveries of a webhook from now on; raises NotFound."""
        self.connection.send(Request("DELETE", api_path("webhooks", webhook_id)))


@dataclass(frozen=True)
class Receivers:
    """The receivers of messages about changes in the store."""

    connection: Connection

    def all(self) -> tuple[Receiver, ...]:
        """Every receiver, by its URL."""
        return ask_for_all(self.connection, Request("GET", api_path("receivers")), "receivers", Receiver)

    def add(self, asked: NewReceiver) -> ReceiverMade:
        """Register a receiver; the secret that signs its messages is in the answer, this once."""
        return ask_for(self.connection, Request("POST", api_path("receivers"), json_body=asked), ReceiverMade)

    def remove(self, receiver_id: str) -> None:
        """Tell a receiver nothing any more; raises NotFound."""
        self.connection.send(Request("DELETE", api_path("receivers", receiver_id)))

    def ping(self, receiver_id: str) -> Delivery:
        """Send a receiver a message that tells of nothing; raises NotFound."""
        return ask_for(self.connection, Request("POST", api_path("receivers", receiver_id, "ping")), Delivery)

    def deliveries(
        self, *, receiver_id: str | None = None, state: str | None = None, limit: int = 50
    ) -> tuple[Delivery, ...]:
        """The newest messages, newest first; of one receiver, in one state."""
        path = api_path("deliveries", receiver=receiver_id, state=state, limit=limit)
        return ask_for_all(self.connection, Request("GET", path), "deliveries", Delivery)

    def redeliver(self, delivery_id: str) -> Delivery:
        """Send a message once more, under the same id; raises NotFound, Conflict."""
        request = Request("POST", api_path("deliveries", delivery_id, "redelivery"))
        return ask_for(self.connection, request, Delivery)
