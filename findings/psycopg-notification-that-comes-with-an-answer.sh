#!/usr/bin/env bash
# Claim: a notification that comes in together with the answer to a statement leaves the connection's socket
#   unreadable, so a program that waits for the socket with select does not hear of it.
# Version: psycopg 3.3.9 with psycopg-binary 3.3.9, PostgreSQL 16 as in pgserver 0.1.4 (seen 2026-11-29).
#
# Expected: a program that listens, and sends statements of its own over the same connection, is woken by select
# for each notification.
# Seen: it is woken for one that comes alone. One that comes with an answer is read with that answer and stays in
# psycopg; only `notifies(timeout=0)`, called after each statement and before each wait, finds it.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --no-deps \
    psycopg==3.3.9 psycopg-binary==3.3.9 pgserver==0.1.4 \
    fasteners==0.20 platformdirs==4.14.8 psutil==7.2.2 typing_extensions==4.16.0
export XDG_RUNTIME_DIR="$folder"
"$folder/venv/bin/python" - "$folder/data" <<'PYTHON'
import select
import sys
import time

import pgserver
import psycopg

server = pgserver.get_server(sys.argv[1], cleanup_mode="delete")
with (
    psycopg.connect(server.get_uri(), autocommit=True) as listener,
    psycopg.connect(server.get_uri(), autocommit=True) as teller,
):
    listener.execute("listen told")

    teller.execute("notify told, 'alone'")
    readable = bool(select.select([listener], [], [], 2)[0])
    print("a notification alone: the socket is readable:", readable)
    said = [one.payload for one in listener.notifies(timeout=0)]
    assert readable and said == ["alone"], "a plain notification is not seen either"

    teller.execute("notify told, 'with an answer'")
    time.sleep(0.3)
    listener.execute("select 1")
    readable = bool(select.select([listener], [], [], 2)[0])
    print("a notification that came with an answer: the socket is readable:", readable)
    said = [one.payload for one in listener.notifies(timeout=0)]
    print("what notifies(timeout=0) has nevertheless:", said)
    assert said == ["with an answer"], "the notification was lost"
    sys.exit("psycopg has changed: the socket is readable" if readable else 0)
PYTHON
