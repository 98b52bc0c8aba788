#!/usr/bin/env bash
# Claim: two sdists of one tree, built with the same SOURCE_DATE_EPOCH, have other bytes; the wheels have the same.
# Version: setuptools 80.9.0, build 1.3.0, CPython 3.11 (seen 2026-11-30).
#
# Expected: the variable sets every time in what is built, as it does in wheels.
# Seen: each member of the sdist has the time of its file, and the gzip header has that of the build. Nothing else
# differs. So the digest of an sdist does not tell whether its source changed.
#
# Exits with 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip -q install build==1.3.0 setuptools==80.9.0 wheel==0.45.1

mkdir -p tree/demo
printf '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n' >tree/pyproject.toml
printf '[project]\nname = "demo"\nversion = "1.0"\n' >>tree/pyproject.toml
: >tree/demo/__init__.py
for out in one other; do
    cp -r tree "tree-$out"
    SOURCE_DATE_EPOCH=1700000000 venv/bin/python -m build -n -o "$out" "tree-$out" >"$out.log" 2>&1
    sleep 1.1
done

echo "setuptools $(venv/bin/python -c 'import setuptools; print(setuptools.__version__)')"
sha256sum one/* other/*
cmp one/demo-1.0-py3-none-any.whl other/demo-1.0-py3-none-any.whl
if cmp -s one/demo-1.0.tar.gz other/demo-1.0.tar.gz; then
    echo "both sdists are equal now"
    exit 1
fi
venv/bin/python - <<'PYTHON'
import tarfile
one, other = (tarfile.open(f"{name}/demo-1.0.tar.gz") for name in ("one", "other"))
pairs = list(zip(one.getmembers(), other.getmembers(), strict=True))
assert all((a.name, a.mode, a.size, a.uid) == (b.name, b.mode, b.size, b.uid) for a, b in pairs)
assert all(one.extractfile(a).read() == other.extractfile(b).read() for a, b in pairs if a.isreg())
print(sum(a.mtime != b.mtime for a, b in pairs), "of", len(pairs), "members state another time, and nothing else")
PYTHON
