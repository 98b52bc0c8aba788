"""Files for CI hosts: thin callers of ``conveyor pipeline package`` and ``conveyor pipeline test``.

The three differ in how a host names things; what is done is the same shell on each, and what a release may do
is decided by the store alone. What the shell keeps to, because runners differ or are wrong in it:

- the tag comes by variable and is fetched again as an object: a shallow checkout may have it as a commit;
- names reach the shell by variables only, never as text of the script;
- exit code 4, a release that waits for a gate, is success, and nothing after it publishes anything;
- the time limit is ours: some runners have none, others kill without warning;
- no retry, lock or condition of the runner is relied on; every scalar that looks like a number is quoted.
"""

from __future__ import annotations

import textwrap
from typing import Literal

CiHost = Literal["gitlab", "github", "jenkins"]
FILES: dict[CiHost, str] = {
    "gitlab": ".gitlab-ci.yml",
    "github": ".github/workflows/conveyor.yml",
    "jenkins": "Jenkinsfile",
}
"""Host → where it looks for its file."""
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


def ci_file(host: CiHost, store_url: str) -> str:
    """The file for a CI host; it is the same for every project."""
    text = {"gitlab": _GITLAB, "github": _GITHUB, "jenkins": _JENKINS}[host]
    depth = {"gitlab": 6, "github": 10, "jenkins": 10}[host]
    for name, script in (("PACKAGE", PACKAGE), ("TEST", TEST)):
        text = text.replace(f"@{name}@", textwrap.indent(script, " " * depth).strip())
    return text.replace("@STORE@", store_url).replace("@SECONDS@", str(SECONDS))


_GITLAB = """\
# Written by conveyor ci gitlab. The store decides what a release may do; these jobs only build and test.
# Settings → CI/CD → Variables: CONVEYOR_WORKER_CREDENTIALS, of the type file, protected.
workflow:
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
  variables:
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
  needs: [package]
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
# Settings → Secrets: CONVEYOR_WORKER_CREDENTIALS, the content of the worker's credentials file.
name: conveyor
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
    env:
      CONVEYOR_URL: "@STORE@"
      COMMIT: ${{ github.sha }}
      TAG: ${{ github.ref_type == 'tag' && github.ref_name || '' }}
    steps:
      - uses: actions/checkout@v4
        with:
          fetch-depth: "0"
      - name: credentials
        env:
          CREDENTIALS: ${{ secrets.CONVEYOR_WORKER_CREDENTIALS }}
        run: |
          umask 077
          printf '%s\\n' "$CREDENTIALS" > "$RUNNER_TEMP/worker.toml"
          echo "CONVEYOR_WORKER_CREDENTIALS=$RUNNER_TEMP/worker.toml" >> "$GITHUB_ENV"
      - name: package
        run: |
          @PACKAGE@
      - name: test
        run: |
          @TEST@
"""
_JENKINS = """\
// Written by conveyor ci jenkins. The store decides what a release may do; these stages only build and test.
// Credentials: a secret file with the id conveyor-worker, the worker's credentials file.
pipeline {
  agent any
  environment {
    CONVEYOR_URL = '@STORE@'
    COMMIT = "${env.GIT_COMMIT}"
    TAG = "${env.TAG_NAME ?: ''}"
  }
  stages {
    stage('package') {
      steps {
        withCredentials([file(credentialsId: 'conveyor-worker', variable: 'CONVEYOR_WORKER_CREDENTIALS')]) {
          sh '''
          @PACKAGE@
          '''
        }
      }
    }
    stage('test') {
      steps {
        withCredentials([file(credentialsId: 'conveyor-worker', variable: 'CONVEYOR_WORKER_CREDENTIALS')]) {
          sh '''
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
