"""How many of our files a request enters, held to what the next owner was promised."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from docs.markdown import ROOT

MOST_FILES = {"an upload": 40, "a new token": 18}


def test_an_upload_and_a_token_enter_few_files() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    counted = subprocess.run(
        [sys.executable, "-m", "benchmarks.entered"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    files = dict(re.findall(r"^(\S.*): (\d+) files", counted.stdout, flags=re.MULTILINE))
    assert {what: most for what, most in MOST_FILES.items() if int(files[what]) > most} == {}, counted.stdout
