#!/usr/bin/env bash
# Claim: from an index whose URL has a password with a blank (quoted as %20), pipenv requests the page with the
#   password and the file without any, so it cannot lock.
# Version: pipenv 2026.10.3, CPython 3.11 (seen 2026-11-29).
#
# Expected: whatever characters the password has, pages and files are requested with it.
# Seen: with "p@ss", "p%ss" and "p+ss" both are. With "pass word" the file is requested without credentials, not even
# after the answer 401 with a challenge. pip alone downloads from the same URL.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --no-deps \
    pipenv==2026.10.3 certifi==2026.10.19.post1 distlib==0.4.4 filelock==4.3.1 packaging==26.4 \
    platformdirs==4.14.8 python-discovery==1.9.6 virtualenv==21.15.11 setuptools==84.2.1
cat >"$folder/play.py" <<'PYTHON'
import base64
import http.server
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from urllib.parse import quote

NAME, INFO = "demo-1.0-py3-none-any.whl", "demo-1.0.dist-info"
MEMBERS = {
    "demo.py": "",
    f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{INFO}/RECORD": f"demo.py,,\n{INFO}/METADATA,,\n{INFO}/WHEEL,,\n{INFO}/RECORD,,\n",
}
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w") as archive:
    for path, content in MEMBERS.items():
        archive.writestr(path, content)


class Index(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        given = self.headers.get("Authorization")
        credentials = base64.b64decode(given.split()[1]).decode() if given else None
        asked.append((self.path, credentials))
        is_file = self.path.endswith(".whl")
        body = packed.getvalue() if is_file else f'<a href="/files/{NAME}">{NAME}</a>'.encode()
        if credentials != f"ann:{password}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            body = b""
        else:
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if is_file else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
threading.Thread(target=server.serve_forever, daemon=True).start()
for password, is_taken in (("p@ss", True), ("p%ss", True), ("p+ss", True), ("pass word", False)):
    asked = []
    project = Path(tempfile.mkdtemp(dir=Path(__file__).parent))
    url = f"http://ann:{quote(password)}@127.0.0.1:{server.server_port}/simple"
    source = f'[[source]]\nname = "index"\nurl = "{url}"\nverify_ssl = true\n'
    (project / "Pipfile").write_text(f'{source}[packages]\ndemo = "*"\n')
    done = subprocess.run(
        [Path(sys.executable).with_name("pipenv"), "lock", "--python", sys.executable],
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": str(project), "PIP_CONFIG_FILE": os.devnull, "PIPENV_NOSPIN": "1"},
        capture_output=True,
        text=True,
    )
    pages = {credentials for path, credentials in asked if path.startswith("/simple/")}
    files = {credentials for path, credentials in asked if path.startswith("/files/")}
    print(f"{password!r}: exit {done.returncode}; the page was requested as {pages}, the file as {files}")
    right = {f"ann:{password}"}
    assert pages == right, "the page was requested otherwise"
    assert (done.returncode == 0, files) == (is_taken, right if is_taken else {None}), "pipenv has changed"
    by_pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--index-url", url, "demo"]
    assert subprocess.run(by_pip, cwd=project, env={"PIP_CONFIG_FILE": os.devnull}).returncode == 0, "pip fails too"
    shutil.rmtree(project, ignore_errors=True)
PYTHON
"$folder/venv/bin/python" "$folder/play.py"
