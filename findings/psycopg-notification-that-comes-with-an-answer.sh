#!/usr/bin/env bash
# psycopg 3.3.9 with PostgreSQL 16 (the one inside pgserver 0.1.4).
#
# A program listens for notifications, waits for the connection's socket with select, and sends statements of its
# own over the same connection. Expected: whenever a notification has come, the socket is readable or has been.
# Seen: a notification that comes in together with the answer to a statement is read with that answer. It stays in
# psycopg, the socket is not readable, and select sleeps on until something else comes. Only `notifies(timeout=0)`,
# called after each statement and before each wait, finds it.
#
# Exits with 0 as long as psycopg behaves like that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check 'psycopg[binary]==3.3.9' pgserver==0.1.4
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
