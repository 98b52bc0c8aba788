#!/usr/bin/env bash
# Claim: `mkdocs build --quiet --strict` succeeds although there are warnings; without --quiet it fails.
# Version: mkdocs 1.6.1, CPython 3.11 (seen 2026-11-30).
#
# Expected: --quiet says how much is shown, --strict whether warnings count.
# Seen: exit code 1 with --strict alone ("Aborted with 1 warnings in strict mode!"), 0 with both. --quiet raises
# the level of the logger, and the warnings are counted by a handler of that logger, which no longer sees them.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check --no-deps \
    click==8.5.1 ghp-import==2.1.0 jinja2==3.1.6 markdown==3.11.3 markupsafe==3.0.4 \
    mergedeep==1.3.4 mkdocs==1.6.1 mkdocs-get-deps==0.2.2 packaging==26.4 pathspec==1.1.1 \
    platformdirs==4.14.8 python-dateutil==4.0.0 pyyaml==6.0.4 pyyaml-env-tag==1.1 tzdata==2026.6 \
    watchdog==7.1.0
mkdir docs
echo "site_name: demo" >mkdocs.yml
echo "[gone](missing.md)" >docs/index.md
for options in "--strict" "--quiet --strict"; do
    code=0
    # shellcheck disable=SC2086  # the options are words
    "$folder/venv/bin/mkdocs" build $options -d "$folder/site" || code=$?
    echo "mkdocs build $options: exit $code"
    test "$options $code" = "--strict 1" -o "$options $code" = "--quiet --strict 0"
done
