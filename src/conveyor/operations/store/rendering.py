"""The process that renders descriptions: run as a script, it checks one description after another.

It reads from standard input and answers on standard output: each message is four bytes of length and then the
text as UTF-8. The answer names the fault of the description, or is empty. The script imports nothing from
conveyor. It ends with its standard input, after a long idle time, or when a description takes more than its
share: then the kernel ends it, and the caller finds the output closed.
"""

from __future__ import annotations

import io
import re
import resource
import select
import signal
import sys
from typing import BinaryIO

CPU_SECONDS = 5.0
"""The limit for one description. A README of 200 KB takes 1 s."""
MEMORY_BYTES = 768 * 1024 * 1024
"""Address space. docutils needs 200 MB; substitutions that double 40 times would exhaust any memory."""
IDLE_SECONDS = 300.0
_MESSAGE = re.compile(r"<string>:(\d+): \([A-Z]+/\d\) (.+)")


def read_message(stream: BinaryIO) -> str | None:
    """The next message; ``None`` when the stream has ended, also in the middle of one."""
    head = stream.read(4)
    body = stream.read(int.from_bytes(head, "big")) if len(head) == 4 else b""
    if len(head) < 4 or len(body) < int.from_bytes(head, "big"):
        return None
    return body.decode()


def write_message(stream: BinaryIO, text: str) -> None:
    """Send one message; raises OSError when nobody reads."""
    body = text.encode(errors="replace")
    stream.write(len(body).to_bytes(4, "big") + body)
    stream.flush()


def fault_of(text: str) -> str:
    """The fault of a reStructuredText, as part of a sentence; empty if it renders.

    The renderer does not know the directives that read files or insert raw HTML.
    """
    from readme_renderer.rst import render

    said = io.StringIO()
    try:
        rendered = render(text, stream=said)
    except RecursionError:
        return "it is nested too deeply"
    except MemoryError:
        return "it takes too much memory to render"
    except Exception as error:  # noqa: BLE001 - docutils fails in many ways on what it does not expect
        return f"docutils fails on it with {type(error).__name__}"
    if rendered is not None:
        return ""
    found = _MESSAGE.search(said.getvalue())
    return f"line {found[1]}: {found[2]}" if found else "nothing of it can be seen"


def main() -> None:
    """Answer until standard input ends or stays idle."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while select.select([asked], [], [], IDLE_SECONDS)[0] and (text := read_message(asked)) is not None:
        # Processor time, not wall-clock time: a busy machine must not make a description fail.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        fault = fault_of(text)
        signal.setitimer(signal.ITIMER_PROF, 0)
        write_message(answers, fault)


if __name__ == "__main__":
    main()
