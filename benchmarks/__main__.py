"""Run every benchmark, or those named: ``python -m benchmarks [NAME ...]``."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def main(names: list[str]) -> int:
    """Print one line per figure."""
    modules = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]
    imported = {name: importlib.import_module(f"benchmarks.{name}") for name in modules if name != "__main__"}
    known = {name: module.measure for name, module in imported.items() if hasattr(module, "measure")}
    chosen = names or list(known)
    unknown = [name for name in chosen if name not in known]
    if unknown:
        print(f"no benchmark named {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in chosen:
        print(f"{name}:")
        for figure in known[name]():
            print(f"  {figure}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
