"""Files for CI hosts: thin callers of ``conveyor pipeline package`` and ``conveyor pipeline test``.

The three differ in how a host names things; what is done is the same shell on each, and what a release may do
is decided by the store alone. What the shell keeps to, because runners differ or are wrong in it:

- the tag comes by variable and is fetched again as an object: a shallow checkout may have it as a commit;
- names reach the shell by variables only, never as text of the script;
- exit code 4, a release that waits for a gate, is success, and nothing after it publishes anything;
- the time limit is ours: some runners have none, others kill without warning;
- no retry, lock or condition of the runner is relied on; every scalar that looks like a number is quoted.

A job says who it is by an ID token of its host, as a trusted publisher of the store, so that no secret is
kept there; or it holds a worker's credentials, and what it finds out counts as that worker's evidence.
"""

from __future__ import annotations

import re
import textwrap
from typing import Literal
from urllib.parse import urlsplit

from conveyor.client.connection import store_url as checked_url
from conveyor.client.id_tokens import ANYWHERE, variable_of
from conveyor.errors import InvalidInput

CiHost = Literal["gitlab", "github", "jenkins"]
FILES: dict[CiHost, str] = {
    "gitlab": ".gitlab-ci.yml",
    "github": ".github/workflows/conveyor.yml",
    "jenkins": "Jenkinsfile",
}
"""Host → where it looks for its file."""
CiIdentity = Literal["oidc", "worker"]
"""Who a job is: what its host says of it, or the worker whose credentials it holds."""
IDENTITIES: dict[CiHost, CiIdentity] = {"gitlab": "oidc", "github": "oidc", "jenkins": "worker"}
"""Host → the identity of its jobs by default; Jenkins has ID tokens only by a plugin."""
SECONDS = 7200

_REF = """\
set -eu
ref="$COMMIT"
if [ -n "$TAG" ]; then
  git fetch --force --no-tags origin "+refs/tags/$TAG:refs/tags/$TAG"
  if [ "$(git rev-parse "refs/tags/$TAG^{commit}")" != "$(git rev-parse "$COMMIT^{commit}")" ]; then
    echo "tag $TAG does not name the commit of this job" >&2
    exit 1
  fi
  ref="refs/tags/$TAG"
fi
"""
PACKAGE = f"""\
{_REF}timeout --signal=TERM --kill-after=10 {SECONDS} \\
  conveyor pipeline package --repo "$PWD" --ref "$ref" --json > conveyor.json
cat conveyor.json
"""
"""Packages ``$TAG``, else ``$COMMIT``; ``conveyor.json`` is empty if there is nothing to do."""
TEST = f"""\
{_REF}if [ ! -s conveyor.json ]; then
  echo "nothing was packaged"
  exit 0
fi
field() {{ python3 -c 'import json, sys; print(json.load(open("conveyor.json"))[sys.argv[1]])' "$1"; }}
project="$(field project)"
version="$(field version)"
rc=0
timeout --signal=TERM --kill-after=10 {SECONDS} \\
  conveyor pipeline test "$project" "$version" --repo "$PWD" --ref "$ref" --junit junit.xml || rc=$?
if [ "$rc" -eq 4 ]; then
  echo "$project $version waits for a gate of the store"
  rc=0
fi
exit "$rc"
"""
"""Tests what ``PACKAGE`` published, as installed; writes ``junit.xml``."""


def ci_file(
    host: CiHost, store_url: str, *, identity: CiIdentity | None = None, audience: str | None = None
) -> str:
    """The file for a CI host; it is the same for every project.

    Args:
        host: for which the file is.
        store_url: where jobs reach the store.
        identity: ``None`` means that of ``IDENTITIES``.
        audience: what ID tokens are made out to; ``None`` means the host in the URL, which is what a store
            says that has this as its public URL.

    Raises:
        InvalidInput: the URL is not that of a store, or the audience is not one word.
    """
    url = checked_url(store_url)
    made_out_to = audience or str(urlsplit(url).hostname)
    for what, said in (("the URL of the store", url), ("the audience", made_out_to)):
        if not re.fullmatch(r"[A-Za-z0-9._~:/%\[\]-]+", said):  # it becomes part of YAML and Groovy
            raise InvalidInput(f'"{said[:100]}" has signs that {what} cannot have in such a file')
    text = {"gitlab": _GITLAB, "github": _GITHUB, "jenkins": _JENKINS}[host]
    depth = {"gitlab": 6, "github": 10, "jenkins": 10}[host]
    for name, part in _PARTS[host, identity or IDENTITIES[host]].items():
        text = text.replace(f"@{name}@", part)
    for name, script in (("PACKAGE", PACKAGE), ("TEST", TEST)):
        text = text.replace(f"@{name}@", textwrap.indent(script, " " * depth).strip())
    told = {"STORE": url, "AUDIENCE": made_out_to, "VARIABLE": variable_of(made_out_to)}
    for name, value in told.items():
        text = text.replace(f"@{name}@", value)
    return text


_GITLAB = """\
# Written by conveyor ci gitlab. The store decides what a release may do; these jobs only build and test.
@WHO@workflow:
  rules:
    - if: $CI_COMMIT_TAG && $CI_COMMIT_BRANCH
      when: never
    - if: $CI_COMMIT_TAG
    - if: $CI_COMMIT_BRANCH

stages: [package, test]

variables:
  CONVEYOR_URL: "@STORE@"
  GIT_DEPTH: "0"

package:
  stage: package
@IDENTITY@  variables:
    COMMIT: "$CI_COMMIT_SHA"
    TAG: "$CI_COMMIT_TAG"
  script:
    - |
      @PACKAGE@
  artifacts:
    when: always
    paths: [conveyor.json]

test:
  stage: test
@IDENTITY@  needs: [package]
  variables:
    COMMIT: "$CI_COMMIT_SHA"
    TAG: "$CI_COMMIT_TAG"
  script:
    - |
      @TEST@
  artifacts:
    when: always
    paths: [junit.xml]
    reports:
      junit: junit.xml
"""
_GITHUB = """\
# Written by conveyor ci github. The store decides what a release may do; this job only builds and tests.
@WHO@name: conveyor
on:
  push:
    branches: ["**"]
    tags: ["**"]
permissions:
  contents: read
defaults:
  run:
    shell: bash
jobs:
  conveyor:
    runs-on: ubuntu-latest
@PERMISSIONS@    env:
      CONVEYOR_URL: "@STORE@"
      COMMIT: ${{ github.sha }}
      TAG: ${{ github.ref_type == 'tag' && github.ref_name || '' }}
    steps:
      - uses: actions/checkout@v5
        with:
          fetch-depth: "0"
@IDENTITY@      - name: package
        run: |
          @PACKAGE@
      - name: test
        run: |
          @TEST@
"""
_JENKINS = """\
// Written by conveyor ci jenkins. The store decides what a release may do; these stages only build and test.
@WHO@pipeline {
  agent any
  environment {
    CONVEYOR_URL = '@STORE@'
    COMMIT = "${env.GIT_COMMIT}"
    TAG = "${env.TAG_NAME ?: ''}"
  }
  stages {
    stage('package') {
      steps {
@IDENTITY@          sh '''
          @PACKAGE@
          '''
        }
      }
    }
    stage('test') {
      steps {
@IDENTITY@          sh '''
          @TEST@
          '''
        }
      }
      post {
        always {
          junit allowEmptyResults: true, testResults: 'junit.xml'
        }
      }
    }
  }
}
"""
_PARTS: dict[tuple[CiHost, CiIdentity], dict[str, str]] = {
    ("gitlab", "oidc"): {
        "WHO": "# No secret is needed: register it once, see conveyor store publisher add --help\n",
        "IDENTITY": """\
  id_tokens:
    @VARIABLE@:
      aud: "@AUDIENCE@"
""",
    },
    ("gitlab", "worker"): {
        "WHO": "# Settings → CI/CD → Variables: CONVEYOR_WORKER_CREDENTIALS, of the type file, protected.\n",
        "IDENTITY": "",
    },
    ("github", "oidc"): {
        "WHO": "# No secret is needed: register it once, see conveyor store publisher add --help\n",
        "PERMISSIONS": """\
    permissions:
      contents: read
      id-token: write
""",
        "IDENTITY": "",
    },
    ("github", "worker"): {
        "WHO": ("# Settings → Secrets: CONVEYOR_WORKER_CREDENTIALS, the content of the worker's file.\n"),
        "PERMISSIONS": "",
        "IDENTITY": """\
      - name: credentials
        env:
          CREDENTIALS: ${{ secrets.CONVEYOR_WORKER_CREDENTIALS }}
        run: |
          umask 077
          printf '%s\\n' "$CREDENTIALS" > "$RUNNER_TEMP/worker.toml"
          echo "CONVEYOR_WORKER_CREDENTIALS=$RUNNER_TEMP/worker.toml" >> "$GITHUB_ENV"
""",
    },
    ("jenkins", "oidc"): {
        "WHO": "// Credentials: an ID token with the id conveyor-id-token, made out to @AUDIENCE@.\n",
        "IDENTITY": (
            "        withCredentials([string(credentialsId: 'conveyor-id-token', "
            f"variable: '{ANYWHERE}')]) {{\n"
        ),
    },
    ("jenkins", "worker"): {
        "WHO": "// Credentials: a secret file with the id conveyor-worker, the worker's credentials file.\n",
        "IDENTITY": (
            "        withCredentials([file(credentialsId: 'conveyor-worker', "
            "variable: 'CONVEYOR_WORKER_CREDENTIALS')]) {\n"
        ),
    },
}
"""What differs by the identity of jobs: name of a place in the file → its text."""
