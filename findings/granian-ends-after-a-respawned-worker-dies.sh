#!/usr/bin/env bash
# Claim: with `--respawn-failed-workers`, granian ends the whole server, healthy worker included, when the
#   replacement of a worker dies within 5.5 seconds; a later death is made good.
# Version: granian 2.8.7 on Linux, CPython 3.11 (seen 2026-11-29).
#
# Expected: a worker that is killed (by the kernel when memory is short, say) is replaced as often as needed.
# Seen: the first death is made good at once. A second one, a second later, ends the server with status 1, although
# `--respawn-interval` is 0.1; eight seconds later it would have been made good too.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
server=""
trap 'test -z "$server" || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --no-deps \
    granian==2.8.7 click==8.5.1
cat >"$folder/application.py" <<'PYTHON'
async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})
PYTHON
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

serve() {
    (cd "$folder" && exec venv/bin/granian --interface asgi --host 127.0.0.1 --port "$port" --workers 2 \
        --respawn-failed-workers --respawn-interval 0.1 application:application) >"$folder/log" 2>&1 &
    server=$!
    wait_for 2
}
workers() { pgrep -P "$server" -f spawn_main || pgrep -P "$server" || true; }
first_worker() { workers | sort -n | head -1; }
newest_worker() { workers | sort -n | tail -1; }
answers() { python3 -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/', timeout=2)" 2>/dev/null; }
wait_for() {
    for _ in $(seq 100); do
        if test "$(workers | wc -l)" -ge "$1" && answers; then return; fi
        sleep 0.1
    done
    echo "the server does not answer with $1 workers"; cat "$folder/log"; exit 1
}

echo "1. a worker dies, and its replacement eight seconds later: the server goes on"
serve
kill -9 "$(first_worker)"; sleep 1; wait_for 2
sleep 7
kill -9 "$(newest_worker)"; sleep 1; wait_for 2
echo "   it answers with $(workers | wc -l) workers"
kill "$server"; wait "$server" 2>/dev/null || true

echo "2. a worker dies, and its replacement one second later: the server ends"
serve
kill -9 "$(first_worker)"; sleep 1; wait_for 2
kill -9 "$(newest_worker)"
for _ in $(seq 50); do kill -0 "$server" 2>/dev/null || break; sleep 0.1; done
if kill -0 "$server" 2>/dev/null; then echo "   it goes on: granian has changed"; exit 1; fi
wait "$server" && status=0 || status=$?
echo "   it has ended with status $status; its last words:"
tail -3 "$folder/log" | sed 's/^/   /'
server=""
