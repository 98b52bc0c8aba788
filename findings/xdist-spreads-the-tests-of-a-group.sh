#!/usr/bin/env bash
# Claim: `--dist loadgroup` ignores `xdist_group`: tests of one group run in several processes, and nothing says so.
# Version: pytest-xdist 3.8.0 with pytest 9.2.0, CPython 3.11 (seen 2026-11-30).
#
# Expected: tests of a group run in one process, which is what the option is for.
# Seen: they are spread like any others. xdist writes the group behind a test's name, into `_nodeid`, from which
# pytest read the name up to 9.1; 9.2 keeps it in `_id`. What such tests share is made once in each process, and
# tests that must not run beside each other do.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check --no-deps execnet==2.1.2 iniconfig==2.3.1 \
    packaging==26.3 pluggy==1.7.0 pygments==2.21.0 pytest==9.2.0 pytest-xdist==3.8.0

cat >test_group.py <<'PYTHON'
import time
from pathlib import Path

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(8))
def test_of_a_group(worker_id, number):
    Path("ran", worker_id).touch()
    time.sleep(0.2)
PYTHON
mkdir ran
venv/bin/python -m pytest -q -n 2 --dist loadgroup
count=$(find ran -type f | wc -l)
echo "the tests of one group ran in $count processes"
test "$count" -gt 1
