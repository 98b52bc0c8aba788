"""The command line: one file per command; a command parses, calls one function and renders.

Data goes to standard output, everything else to standard error. A command's module is imported only when it
is called, so that ``conveyor new`` never pays for the server's imports.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from conveyor.cli.lazy import CONTEXT_SETTINGS, LazyGroup
from conveyor.errors import ConveyorError, MissingTool, PromotionRefused, StorageFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "new": ("conveyor.cli.new", "Make a new project: a package with tests, docs and a git repository."),
    "train": ("conveyor.cli.train", "Train the model of this project and write its payload."),
    "build": ("conveyor.cli.build", "Build the sdist and the wheel of this project and check them."),
    "data": ("conveyor.cli.data", "Fetch, declare and check the data that training reads."),
    "python": ("conveyor.cli.python", "List the interpreters of this machine, and why each is used or not."),
    "release": (
        "conveyor.cli.release",
        "Release this project: decide the version, write the changelog, tag and push.",
    ),
    "version": ("conveyor.cli.version", "Say what this tree would be called, and why."),
    "restore": ("conveyor.cli.restore", "Rebuild the environment in which a release passed its tests."),
    "store": ("conveyor.cli.store", "Run and operate a store: serve, promote, tokens, indexes."),
    "pipeline": (
        "conveyor.cli.pipeline",
        "Carry a commit or a tag through packaging, testing and promotion.",
    ),
    "approve": ("conveyor.cli.approve", "Sign the files of a release as they are, as its QA."),
    "ci": ("conveyor.cli.ci", "Write the file of a CI host that packages and tests this project."),
    "verify": ("conveyor.cli.verify", "Prove a file or a release: tested, built from a commit, signed."),
    "why": ("conveyor.cli.why", "Say why a release is, or is not yet, in an index."),
    "demo": ("conveyor.cli.demo", "Play the whole story once: commit, tag, test, sign, install, predict."),
}
"""Command name → (module holding ``command``, one line of help)."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@click.group(cls=LazyGroup, lazy_commands=COMMANDS, context_settings=CONTEXT_SETTINGS)
@click.option("--version", "-V", is_flag=True, is_eager=True, expose_value=False, callback=lambda *_: None)
def conveyor() -> None:
    """Carry data science from a notebook to production as ordinary, tested, promoted Python packages."""


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. Errors of ours become one clear message, not a traceback."""
    try:
        result = conveyor.main(args=list(arguments), prog_name="conveyor", standalone_mode=False)
        sys.stdout.flush()
    except ConveyorError as error:
        render_error(error)
        return error.exit_code
    except click.MissingParameter as error:
        _every_missing_parameter(error, arguments).show()
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        sys.stderr.write("stopped\n")
        return 130
    except ModuleNotFoundError as error:
        missing = _missing_extra(error)
        if missing is None:  # a bug of ours
            raise
        render_error(missing)
        return missing.exit_code
    except OSError as error:  # a folder that cannot be written, a full disk: not a bug of ours
        if error.filename is None and error.errno not in _DISK_ERRORS:
            raise
        return told(error)
    return result if isinstance(result, int) else 0


def told(error: OSError) -> int:
    """Say what could not be used, and return the exit code; without a filename, output failed."""
    if error.filename is not None:
        problem = f"{os.fsdecode(error.filename)} cannot be used: {error.strerror}"
        hint = "check its folder, its permissions and the disk, then try again"
    else:
        problem = f"the output or a temporary file cannot be written: {error.strerror}"
        hint = "check the disks that standard output and temporary files go to, then try again"
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - the rest would fail again
    render_error(StorageFailed(problem, hint=hint))
    return StorageFailed.exit_code


def _missing_extra(error: ModuleNotFoundError) -> MissingTool | None:
    """The error that says which extra to install, if the module belongs to one."""
    from importlib.metadata import metadata

    from packaging.requirements import Requirement

    about = metadata("conveyor")
    name = (error.name or "").partition(".")[0].replace("_", "-")
    for requirement in map(Requirement, about.get_all("Requires-Dist") or ()):
        # Some modules have the beginning of their package's name: argon2 is in argon2-cffi.
        if requirement.marker is None or not f"{requirement.name}-".startswith(f"{name}-"):
            continue
        for extra in about.get_all("Provides-Extra") or ():
            if extra != "all" and requirement.marker.evaluate({"extra": extra}):
                return MissingTool(
                    f"this command needs {requirement.name}, which is not installed",
                    hint=f'pip install "conveyor[{extra}]"',
                )
    return None


def _every_missing_parameter(error: click.MissingParameter, arguments: Sequence[str]) -> click.ClickException:
    """The error with every missing parameter; click itself stops at the first."""
    context = error.ctx
    if context is None:
        return error
    words = len(context.command_path.split()) - 1
    given = context.command.make_parser(context).parse_args(args=list(arguments[words:]))[0]
    missing = [
        f"{parameter.param_type_name} {parameter.get_error_hint(context)}"
        for parameter in context.command.get_params(context)
        if parameter.required and parameter.value_is_missing(parameter.consume_value(context, given)[0])
    ]
    return click.UsageError(f"Missing {', '.join(missing)}.", context) if len(missing) > 1 else error


def render_error(error: ConveyorError) -> None:
    """Write an error to standard error: its class, its message, each verdict, and the next step."""
    lines = [f"{type(error).__name__}: {error.message}"]
    faults = getattr(error, "faults", ())
    if len(faults) > 1:
        lines += [f"  - {fault}" for fault in faults]
    if isinstance(error, PromotionRefused):
        from conveyor.cli.output import verdict_lines

        lines += verdict_lines(error.verdicts)
    if error.hint:
        lines.append(f"hint: {error.hint}")
    sys.stderr.write("\n".join(lines) + "\n")
