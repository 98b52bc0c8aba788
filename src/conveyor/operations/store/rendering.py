"""The process that renders descriptions: run as a script, it answers one description after the other.

Read from standard input, answered on standard output: each message is four bytes of length and that many of
UTF-8. The answer is what is wrong with the description, or empty. The script imports nothing of conveyor and
ends with its standard input, when it was idle for long, or when a description takes more than its share: the
kernel ends it then, and whoever asked finds the output closed.
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
"""For one description. A README of 200 KB takes 1 s."""
MEMORY_BYTES = 768 * 1024 * 1024
"""Address space. docutils needs 200 MB; substitutions that double 40 times would need all there is."""
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
    """What is wrong with reStructuredText, as a part of a sentence; empty when it renders.

    Directives that read files or put raw HTML in are not known to the renderer.
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
    """Answer until there is nothing more to answer."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    while select.select([asked], [], [], IDLE_SECONDS)[0] and (text := read_message(asked)) is not None:
        # Time on the processor, not on the clock: a busy machine makes no description wrong.
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        fault = fault_of(text)
        signal.setitimer(signal.ITIMER_PROF, 0)
        write_message(answers, fault)


if __name__ == "__main__":
    main()
