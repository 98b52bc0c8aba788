"""Who is told of what, how it is signed, and when it is tried again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from conveyor.domain.notices.mail import mail_of
from conveyor.domain.notices.messages import Told, message_for, type_of
from conveyor.domain.notices.receivers import (
    GIVEN_UP_AFTER_SECONDS,
    MESSAGE_TYPES,
    NewReceiver,
    Receiver,
    checked_receiver,
    mailbox_of,
    pause_seconds,
    signature,
    wants,
)
from conveyor.domain.words.notation import Event
from conveyor.errors import InvalidInput

AT = "2026-11-30T12:00:00.000000Z"
EVERYTHING = Receiver("r1", "https://hooks.example.org/", (), (), (), False, "admin", AT)
PROMOTED = Event(
    7, AT, "store", "promote", "testing", "demo", "1.0",
    {"from": "unstable", "files": {"demo.whl": "0" * 64}, "verdicts": [{"reason": 'tested for "testing"'}]},
)  # fmt: skip
PUBLIC = {"testing": False}


def data_of(receiver: Receiver, told: Told) -> dict[str, Any]:
    message = message_for(receiver, told, store_url="https://packages.example/")
    assert message is not None
    data: dict[str, Any] = json.loads(message.body)["data"]
    return data


def test_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification's reference libraries."""
    signed = signature(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        moment_seconds=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_message_is_tried_again_for_a_day_ever_more_rarely() -> None:
    age, pauses = 0, []
    for attempts in range(1, 100):
        pause = pause_seconds(attempts, age)
        if pause is None:
            break
        pauses.append(pause)
        age += pause
    assert pauses[:4] == [5, 30, 120, 600]
    assert pauses == sorted(pauses)
    assert GIVEN_UP_AFTER_SECONDS - 4 * 3600 < age <= GIVEN_UP_AFTER_SECONDS


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://hooks.example.org/x", "not encrypted"),
        ("https://127.0.0.1/x", "an address of this machine"),
        ("https://[::ffff:10.0.0.1]/x", "an address of this machine"),
        ("https://localhost/x", "an address of this machine"),
        ("https://ci.internal/x", "an address of this machine"),
        ("https://user:secret@hooks.example.org/", "credentials"),
        ("https://hooks.example.org/#part", "fragment"),
        ("ftp://hooks.example.org/", "neither an https URL"),
        ("https://[::1/", "not a URL"),
        ("mailto:a@example.org,b@example.org", "one address"),
        ("mailto:a@example.org?bcc=b@example.org", "one address"),
        ("mailto:a@example.org%0d%0aBcc:b@example.org", "one address"),
    ],
)
def test_address_that_must_not_be_told_is_refused(url: str, fault: str) -> None:
    with pytest.raises(InvalidInput, match=fault):
        checked_receiver(NewReceiver(url))


def test_local_receiver_may_be_on_this_machine_and_faults_are_named_at_once() -> None:
    assert checked_receiver(NewReceiver("http://127.0.0.1:8000/x", is_local=True)).is_local
    assert mailbox_of("mailto:qa%2Bteam@example.org") == "qa+team@example.org"
    with pytest.raises(InvalidInput) as refused:
        checked_receiver(NewReceiver("http://10.0.0.1/", indexes=("Not a name",)))
    assert len(refused.value.faults) == 3


def test_private_index_is_told_only_to_a_receiver_that_names_it() -> None:
    told = Told(PROMOTED, {"risk/testing": True}, ("risk/testing",), ("demo",))
    for patterns in ((), ("*",), ("risk/*",)):
        assert message_for(replace(EVERYTHING, indexes=patterns), told, store_url=None) is None
    assert data_of(replace(EVERYTHING, indexes=("risk/testing",)), told)["indexes"] == ["risk/testing"]


def test_details_that_name_a_private_index_are_left_out() -> None:
    event = replace(
        PROMOTED,
        detail={"from": "risk/unstable", "files": {}, "verdicts": [{"reason": 'tests in "risk/unstable"'}]},
    )
    told = Told(event, PUBLIC, ("risk/unstable",), ("demo",))
    data = data_of(EVERYTHING, told)
    assert {"from", "verdicts"}.isdisjoint(data)
    data = data_of(replace(EVERYTHING, indexes=("risk/unstable", "testing")), told)
    assert (data["from"], len(data["verdicts"])) == ("risk/unstable", 1)


def test_patterns_choose_indexes_and_projects() -> None:
    told = Told(PROMOTED, PUBLIC, (), ("demo",))
    for receiver, is_told in (
        (replace(EVERYTHING, indexes=("test*",)), True),
        (replace(EVERYTHING, indexes=("stable",)), False),
        (replace(EVERYTHING, projects=("de*",)), True),
        (replace(EVERYTHING, projects=("other",)), False),
        (replace(EVERYTHING, events=("release.promoted",)), True),
        (replace(EVERYTHING, events=("run.failed",)), False),
    ):
        assert (message_for(receiver, told, store_url=None) is not None) is is_told, receiver


def test_message_says_what_moved_where_and_where_to_look() -> None:
    message = message_for(
        EVERYTHING, Told(PROMOTED, PUBLIC, (), ("demo",)), store_url="https://packages.example/"
    )
    assert message is not None
    assert (message.type, message.subject) == ("release.promoted", "demo 1.0")
    assert json.loads(message.body) == {
        "type": "release.promoted",
        "timestamp": AT,
        "data": {
            "serial": 7,
            "actor": "store",
            "store": "https://packages.example/",
            "project": "demo",
            "version": "1.0",
            "indexes": ["testing"],
            "url": "https://packages.example/api/v1/projects/demo/releases/1.0",
            "files": {"demo.whl": "0" * 64},
            "from": "unstable",
            "verdicts": [{"reason": 'tested for "testing"'}],
        },
    }


def test_people_get_no_mail_about_every_upload() -> None:
    mail = replace(EVERYTHING, url="mailto:team@example.org")
    assert not wants(mail, "file.uploaded")
    assert wants(mail, "release.waiting")
    assert wants(replace(mail, events=("file.uploaded",)), "file.uploaded")
    assert [kind for kind in MESSAGE_TYPES if not wants(EVERYTHING, kind)] == ["ping"]


@pytest.mark.parametrize(
    "action", ["create-token", "add-user", "mirror-page", "add-webhook", "collect-blobs"]
)
def test_other_events_are_nobody_s_business(action: str) -> None:
    assert type_of(replace(PROMOTED, action=action)) is None


def test_mail_about_a_failed_run_says_why_and_cannot_add_headers() -> None:
    run = {"id": 7, "ref": "refs/tags/v1.0", "repository": "/srv/demo.git", "commit": None}
    detail = "2 tests failed\nBcc: everybody@example.org\n\x1b[2Jgone"
    data = {"actor": "worker-1", "project": None, "version": None, "indexes": ["unstable"], "url": None}
    body = {"type": "run.failed", "timestamp": AT, "data": data | {"run": {**run, "detail": detail}}}
    mail = mail_of(
        json.dumps(body),
        message_id="msg_1",
        subject="run 7",
        sender="store@team.example",
        to="qa@team.example",
    )
    assert mail["Subject"] == "run 7 of refs/tags/v1.0 has failed"
    text = mail.get_content()
    assert "2 tests failed\nBcc: everybody@example.org" in text
    assert "\x1b" not in text
    assert mail["Bcc"] is None
    assert len(set(mail.keys())) == len(mail.keys())


@pytest.mark.parametrize("kind", MESSAGE_TYPES)
def test_every_message_can_be_mailed(kind: str) -> None:
    data = {"actor": "admin", "project": "demo", "version": "1.0", "indexes": ["stable"], "gate": "tests"}
    body = {"type": kind, "timestamp": AT, "data": data}
    mail = mail_of(
        json.dumps(body), message_id="msg_1", subject="demo 1.0", sender="a@b.example", to="c@d.example"
    )
    assert ("demo 1.0" in mail["Subject"]) is (kind != "ping")
    assert b"\n\n" in bytes(mail).replace(b"\r\n", b"\n")
