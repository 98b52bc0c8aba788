"""The public API of a package, read from its sources.

Nothing of the project is imported or run: every module is parsed. Public is what the language's conventions
call public: a module without a leading underscore in its dotted name (folders of tests excepted), and in it
the names of a literal ``__all__``, else the names defined there without a leading underscore; in an
``__init__`` also those imported from the package itself, elsewhere those imported ``as`` themselves. A name
is followed to its definition, and members to their base classes in the package, so that moving code and
keeping its name changes nothing. Commands and extras that the project declares are names too.

Source: PEP 8 ("Public and internal interfaces"), and typing's rules for re-exports.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from warnings import catch_warnings

from conveyor.errors import ProjectError
from conveyor.project.settings import TEST_FOLDERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_OF_TESTS = frozenset({*TEST_FOLDERS, "testing_data", "conftest"})  # testing is public, as numpy's is
ORDERED = ("positional-only", "positional")
_MAKERS_OF_FIELDS = ("dataclass", "define", "frozen", "attrs")


@dataclass(frozen=True)
class Parameter:
    """One parameter, as a caller sees it."""

    name: str
    kind: Literal["positional-only", "positional", "keyword-only", "*", "**"]
    is_required: bool


@dataclass(frozen=True)
class Thing:
    """What a public name stands for."""

    kind: str
    """``module``, ``function``, ``class``, ``method``, ``property``, ``value``, ``command``, …"""
    parameters: tuple[Parameter, ...] | None = None
    """``None`` where nobody calls it, or where the parameters cannot be read."""
    bases: frozenset[str] = frozenset()
    """Of a class: its public bases, and those of other packages, as written; indirect ones too."""


@dataclass
class _Module:
    """One module while names are being resolved."""

    name: str
    is_package: bool
    definitions: dict[str, ast.stmt] = field(default_factory=dict)
    imports: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """Name → (module, name in it); ``None``: the module itself."""
    stars: list[str] = field(default_factory=list)
    exported: list[str] | None = None
    reexports: set[str] = field(default_factory=set)


def public_api(
    sources: Mapping[str, bytes], *, commands: Iterable[str] = (), extras: Iterable[str] = ()
) -> dict[str, Thing]:
    """Every public name with what it stands for.

    Args:
        sources: path → content of every ``.py`` and ``.pyi`` file, relative to the folder that is at the top
            of the wheel: ``tumor/model.py``. A stub counts where there is no module of its name.
        commands: names of the console scripts.
        extras: names of the optional dependencies.

    Raises:
        ProjectError: a file cannot be parsed; all such files are named.
    """
    package = _Package(_parsed(sources))
    found: dict[str, Thing] = {}
    for name in package.modules:
        if _is_public_module(name):
            found[name] = Thing("module")
            for one in package.public_names(name):
                found.update(package.things(f"{name}.{one}", name, one))
    found.update({f"command {name}": Thing("command") for name in commands})
    found.update({f"extra {name}": Thing("extra") for name in extras})
    return found


# --- reading ---


def _is_public_module(name: str) -> bool:
    top, *parts = name.split(".")
    return not any(part.startswith("_") or part in _OF_TESTS for part in (*parts, *([] if parts else [top])))


def _parsed(sources: Mapping[str, bytes]) -> dict[str, _Module]:
    modules: dict[str, _Module] = {}
    faults = []
    for path in sorted(sources):  # .py before .pyi
        stem, _, suffix = path.rpartition(".")
        parts = stem.split("/")
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        if suffix == "pyi" and name in modules:
            continue
        try:
            with catch_warnings(action="ignore"):  # about old escapes in strings; not our business
                tree = ast.parse(sources[path])
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            faults.append(path if line is None else f"{path}, line {line}")
            continue
        modules[name] = module = _Module(name, is_package)
        _read_block(module, tree.body, is_stub=suffix == "pyi")
    if faults:
        raise ProjectError(f"no Python that can be read here: {'; '.join(faults)}")
    return modules


def _read_block(module: _Module, body: Sequence[ast.stmt], *, is_stub: bool) -> None:
    """Read the statements of a module, also inside ``if``, ``try`` and ``with``."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if is_stub or not _is_overload(statement) or statement.name not in module.definitions:
                module.definitions[statement.name] = statement
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            _read_assignment(module, statement)
        elif isinstance(statement, ast.Expr):
            _read_export_call(module, statement.value)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            _read_import(module, statement)
        for block in _blocks(statement):
            _read_block(module, block, is_stub=is_stub)


def _blocks(statement: ast.stmt) -> Iterator[Sequence[ast.stmt]]:
    """The blocks in a statement that run when the module is imported, the one that counts most last."""
    if isinstance(statement, ast.If):
        if not ast.unparse(statement.test).endswith("TYPE_CHECKING"):
            yield statement.body
        yield statement.orelse
    elif isinstance(statement, ast.Try):
        # What the body defines counts, where the handlers define something else for want of it.
        yield [one for handler in statement.handlers for one in handler.body]
        yield from (statement.body, statement.orelse, statement.finalbody)
    elif isinstance(statement, ast.With):
        yield statement.body


def _read_assignment(module: _Module, statement: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    for target in (name for one in targets for name in ast.walk(one) if isinstance(name, ast.Name)):
        if target.id == "__all__":
            _export(module, statement.value, adds=isinstance(statement, ast.AugAssign))
        elif not isinstance(statement, ast.AugAssign) and isinstance(target.ctx, ast.Store):
            module.definitions[target.id] = statement


def _export(module: _Module, value: ast.expr | None, *, adds: bool) -> None:
    """Read an assignment to ``__all__``; what is not literal in it is passed over."""
    names = [
        one.value
        for part in ast.walk(value or ast.Tuple(elts=[]))
        if isinstance(part, ast.List | ast.Tuple | ast.Set)
        for one in part.elts
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]
    module.exported = [*(module.exported or ()), *names] if adds else names


def _read_export_call(module: _Module, call: ast.expr) -> None:
    """``__all__.append("name")`` and ``__all__.extend([…])``."""
    if (
        isinstance(call, ast.Call)
        and call.args
        and ast.unparse(call.func) in ("__all__.append", "__all__.extend")
    ):
        value = call.args[0]
        listed = ast.List(elts=[value]) if isinstance(value, ast.Constant) else value
        _export(module, listed, adds=True)


def _read_import(module: _Module, statement: ast.Import | ast.ImportFrom) -> None:
    if isinstance(statement, ast.Import):
        for one in statement.names:
            target = one.name if one.asname else one.name.partition(".")[0]
            module.imports[one.asname or target] = (target, None)
            if one.asname == one.name:
                module.reexports.add(one.asname)
        return
    source = statement.module or ""
    if statement.level:
        parts = module.name.split(".")
        drop = statement.level - module.is_package
        base = parts[: len(parts) - drop] if drop else parts
        source = ".".join([*base, *([source] if source else [])])
    own = source.partition(".")[0] == module.name.partition(".")[0]
    for one in statement.names:
        if one.name == "*":
            module.stars.append(source)
            continue
        name = one.asname or one.name
        module.imports[name] = (source, one.name)
        if (module.is_package and own) or one.asname == one.name:
            module.reexports.add(name)


def _is_overload(statement: ast.stmt) -> bool:
    return "overload" in _decorators(statement)


def _decorators(statement: ast.stmt) -> dict[str, ast.expr]:
    """Last word of each decorator → the decorator: ``dataclass`` for ``@dataclasses.dataclass()``."""
    found = {}
    for one in getattr(statement, "decorator_list", ()):
        called = one.func if isinstance(one, ast.Call) else one
        found[ast.unparse(called).rpartition(".")[2]] = one
    return found


# --- resolving ---


class _Package:
    """All modules of a package, private ones too, and the way from a name to its definition."""

    def __init__(self, modules: dict[str, _Module]) -> None:
        self.modules = modules

    def public_names(self, name: str, seen: frozenset[str] = frozenset()) -> list[str]:
        """The public names of a module, in no order."""
        module = self.modules[name]
        if module.exported is not None:
            return module.exported
        starred = [
            one
            for star in module.stars
            if star in self.modules and star not in seen
            for one in self.public_names(star, seen | {name})
        ]
        names = [*module.definitions, *module.reexports, *starred]
        return [one for one in dict.fromkeys(names) if not one.startswith("_")]

    def find(
        self, name: str, wanted: str, seen: frozenset[tuple[str, str]] = frozenset()
    ) -> tuple[str, ast.stmt] | None:
        """(module, definition) of a name of a module; ``None`` if it is defined in no module here."""
        module = self.modules.get(name)
        if module is None or (name, wanted) in seen:
            return None
        seen |= {(name, wanted)}
        if wanted in module.definitions:
            return name, module.definitions[wanted]
        if wanted in module.imports:
            source, inner = module.imports[wanted]
            return None if inner is None else self.find(source, inner, seen)
        for star in module.stars:
            found = self.find(star, wanted, seen)
            if found is not None:
                return found
        return None

    def things(self, full: str, module: str, name: str) -> dict[str, Thing]:
        """A public name, and for a class its members, by their full names."""
        source, inner = self.modules[module].imports.get(name, (module, name))
        if name not in self.modules[module].definitions and (
            (inner is None and source in self.modules) or f"{source}.{inner}" in self.modules
        ):
            return {full: Thing("module")}
        found = self.find(module, name)
        if found is None:
            return {full: Thing("value")}
        where, statement = found
        if isinstance(statement, ast.ClassDef):
            return self._class(full, where, statement)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            kind = "coroutine function" if isinstance(statement, ast.AsyncFunctionDef) else "function"
            return {full: Thing(kind, _parameters(statement))}
        return {full: Thing("value")}

    def _class(self, full: str, module: str, statement: ast.ClassDef) -> dict[str, Thing]:
        members, bases, is_whole = self._members(module, statement, frozenset())
        constructor = members.pop("__init__", None)
        made_by_us = constructor.parameters if constructor is not None else () if is_whole else None
        named = {name: thing for name, thing in members.items() if not _is_private(name)}
        return {full: Thing("class", made_by_us, bases)} | {
            f"{full}.{name}": one for name, one in named.items()
        }

    def _members(
        self, module: str, statement: ast.ClassDef, seen: frozenset[tuple[str, str]]
    ) -> tuple[dict[str, Thing], frozenset[str], bool]:
        """(members, bases, whether every base is known here), those of bases in the package included."""
        members: dict[str, Thing] = {}
        bases: set[str] = set()
        is_whole = True
        fields: tuple[Parameter, ...] = ()
        for base in reversed(statement.bases):
            written = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
            found = self._base(module, written)
            if found is None or (found[0], found[1].name) in seen:
                bases.add(written)
                is_whole = is_whole and written in _BASES_WITHOUT_CONSTRUCTOR
                continue
            inherited, further, whole = self._members(*found, seen | {(module, statement.name)})
            members.update(inherited)
            bases |= further
            is_whole = is_whole and whole
            if not found[1].name.startswith("_"):
                bases.add(found[1].name)
        inherited_init = members.get("__init__")
        if inherited_init is not None and inherited_init.parameters is not None:
            fields = inherited_init.parameters
        members.update(_own_members(statement))
        made = _made_constructor(statement, fields)
        if made is not None and not any(_named(one) == "__init__" for one in statement.body):
            members["__init__"] = Thing("method", made)
        return members, frozenset(bases), is_whole

    def _base(self, module: str, written: str) -> tuple[str, ast.ClassDef] | None:
        *path, name = written.split(".")
        where = module
        for part in path:
            source, inner = (
                self.modules[where].imports.get(part, ("", None)) if where in self.modules else ("", None)
            )
            where = source if inner is None else f"{source}.{inner}"
        found = self.find(where, name)
        return (found[0], found[1]) if found is not None and isinstance(found[1], ast.ClassDef) else None


_BASES_WITHOUT_CONSTRUCTOR = frozenset(
    {
        "object",
        "ABC",
        "abc.ABC",
        "Protocol",
        "typing.Protocol",
        "Generic",
        "typing.Generic",
        "NamedTuple",
        "typing.NamedTuple",
    }
)


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _named(statement: ast.stmt) -> str | None:
    return getattr(statement, "name", None)


def _own_members(statement: ast.ClassDef) -> dict[str, Thing]:
    """Methods, properties and attributes that a class body defines; attributes of ``__init__`` too."""
    found: dict[str, Thing] = {}
    for one in statement.body:
        if isinstance(one, ast.ClassDef):
            found[one.name] = Thing("class")
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            if not _is_overload(one) or one.name not in found:
                found[one.name] = _method(one)
            if one.name == "__init__":
                found = _attributes_set(one) | found
        elif isinstance(one, ast.Assign | ast.AnnAssign):
            targets = one.targets if isinstance(one, ast.Assign) else [one.target]
            found.update({name.id: Thing("attribute") for name in targets if isinstance(name, ast.Name)})
    for name in ("__doc__", "__slots__", "__module__", "__annotations__"):
        found.pop(name, None)
    return found


def _method(one: ast.FunctionDef | ast.AsyncFunctionDef) -> Thing:
    decorators = _decorators(one)
    if decorators.keys() & {"property", "cached_property", "setter", "getter", "deleter"}:
        return Thing("attribute")  # read as an attribute is
    kind = "coroutine method" if isinstance(one, ast.AsyncFunctionDef) else "method"
    parameters = _parameters(one)
    if "staticmethod" not in decorators and parameters and parameters[0].kind in ORDERED:
        parameters = parameters[1:]
    return Thing(kind, parameters)


def _attributes_set(constructor: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, Thing]:
    """The attributes that ``__init__`` sets on the object."""
    arguments = [*constructor.args.posonlyargs, *constructor.args.args]
    me = arguments[0].arg if arguments else "self"
    return {
        one.attr: Thing("attribute")
        for one in ast.walk(constructor)
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store)
        and isinstance(one.value, ast.Name) and one.value.id == me and not one.attr.startswith("_")
    }  # fmt: skip


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[Parameter, ...]:
    said = function.args
    ordered = [*said.posonlyargs, *said.args]
    required = len(ordered) - len(said.defaults)
    found = [
        Parameter(
            one.arg, "positional-only" if place < len(said.posonlyargs) else "positional", place < required
        )
        for place, one in enumerate(ordered)
    ]
    if said.vararg is not None:
        found.append(Parameter(said.vararg.arg, "*", is_required=False))
    for one, default in zip(said.kwonlyargs, said.kw_defaults, strict=True):
        found.append(Parameter(one.arg, "keyword-only", default is None))
    if said.kwarg is not None:
        found.append(Parameter(said.kwarg.arg, "**", is_required=False))
    return tuple(found)


def _made_constructor(
    statement: ast.ClassDef, inherited: tuple[Parameter, ...]
) -> tuple[Parameter, ...] | None:
    """The parameters that a dataclass, an attrs class or a named tuple gets; ``None`` for another class."""
    decorators = _decorators(statement)
    maker = next((decorators[name] for name in _MAKERS_OF_FIELDS if name in decorators), None)
    is_tuple = any(ast.unparse(base).endswith("NamedTuple") for base in statement.bases)
    if maker is None and not is_tuple:
        return None
    options = _options(maker)
    if options.get("init") is False:
        return None
    only_words = options.get("kw_only") is True
    made = {one.name: one for one in inherited if "*" not in one.kind}
    for one in statement.body:
        if not isinstance(one, ast.AnnAssign) or not isinstance(one.target, ast.Name):
            continue
        written = ast.unparse(one.annotation)
        if written.endswith("KW_ONLY"):
            only_words = True
            continue
        if "ClassVar" in written or (said := _options(one.value)).get("init") is False:
            continue
        is_field = isinstance(one.value, ast.Call) and ast.unparse(one.value.func).rpartition(".")[2] in (
            "field",
            "ib",
        )
        is_required = one.value is None or (
            is_field and not said.keys() & {"default", "default_factory", "factory"}
        )
        words = said.get("kw_only", only_words) is True if is_field else only_words
        name = one.target.id.lstrip("_") if "dataclass" not in decorators and not is_tuple else one.target.id
        made[name] = Parameter(name, "keyword-only" if words else "positional", is_required)
    ordered = sorted(made.values(), key=lambda one: one.kind == "keyword-only")
    return tuple(ordered)


def _options(called: ast.expr | None) -> dict[str, object]:
    """The keywords of a call, literal values only; empty for anything else."""
    if not isinstance(called, ast.Call):
        return {}
    return {
        word.arg: word.value.value if isinstance(word.value, ast.Constant) else ...
        for word in called.keywords
        if word.arg is not None
    }
