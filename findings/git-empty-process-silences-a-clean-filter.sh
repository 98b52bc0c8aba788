#!/usr/bin/env bash
# Claim: a filter whose "process" is set to nothing in a repository's own settings no longer runs its "clean" command,
#   also where that is set after it; only the removal of the key brings it back.
# Version: git 2.39.5 (seen 2026-11-30).
#
# Expected: as for "clean" and "smudge", an empty value means that there is no such program, so that "clean" is used.
# Seen: the file goes into the repository as it is, without a word. This is how a clone that switches git-lfs off
# (smudge, process and required set to nothing) takes every fetched file for a change.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
git init -q .
echo '*.bin filter=own' >.gitattributes
echo content >file.bin
git config filter.own.process ""
git config filter.own.clean "tr a-z A-Z"
with_process=$(git cat-file blob "$(git hash-object -w --path file.bin file.bin)")
git config --unset filter.own.process
without_process=$(git cat-file blob "$(git hash-object -w --path file.bin file.bin)")
echo "with an empty process: $with_process; without the key: $without_process"
test "$with_process" = content
test "$without_process" = CONTENT
