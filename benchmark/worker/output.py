"""Relay of a worker's output to the run's standard error: sanitised, prefixed with the predictor's name, and capped."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from typing import IO

from rich.cells import cell_len, chop_cells

from ...utils.text import one_line, visible

LINE_LIMIT = 4096
"""Bytes that are shown of one line."""
OUTPUT_LIMIT = 1 << 20
"""Bytes that are shown as they come; of what follows, only the last lines are, when the worker ends."""
WIDTH = 80
"""Columns of a row where standard error is not a terminal: it is shown in one later, perhaps."""
CONTINUED = " : "
"""Follows the predictor's name on the further rows of a line."""
TAIL_LINES = 100
"""Last lines that are shown of a longer output, so that a traceback is among them."""
CHUNK = 1 << 16
END_TIMEOUT = 1.0
"""Seconds to wait for the end of the output when the worker has ended."""


class OutputRelay:
    """A thread that reads a worker's output to its end, whatever is shown of it, so that the worker never waits.

    Lines are broken to the terminal's width, so that no row of it begins with anything but the predictor's name. Of a
    line that carriage returns overwrite, as progress bars do, the last state is shown.

    Parameters
    ----------
    name
        The predictor's name, which every row begins with.
    stream
        The pipe that is the worker's standard output and standard error.
    """

    def __init__(self, name: str, stream: IO[bytes]) -> None:
        self._name, self._stream = one_line(name, 60), stream
        self._lock = threading.Lock()
        self._closed = False
        self._line, self._left_out = bytearray(), 0
        self._shown = self._hidden = 0
        self._measure()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._thread = threading.Thread(target=self._relay, name="worker output", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Show what is left when the worker has ended; processes that it left behind are not waited for."""
        self._thread.join(END_TIMEOUT)
        self._finish()

    def _relay(self) -> None:
        with self._stream:
            while not self._closed and (chunk := os.read(self._stream.fileno(), CHUNK)):
                with self._lock:
                    self._feed(chunk)
        self._finish()

    def _feed(self, chunk: bytes) -> None:
        self._measure()
        *ended, last = chunk.split(b"\n")
        lines = []
        for part in ended:
            self._extend(part)
            lines.append(self._take_line())
        self._extend(last)
        self._show(lines)

    def _extend(self, part: bytes) -> None:
        """Add to the current line, within its limit."""
        self._line += part
        if len(self._line) > LINE_LIMIT:
            overwritten = self._line.rstrip(b"\r").rfind(b"\r") + 1
            if overwritten:
                del self._line[:overwritten]
                self._left_out = 0
            self._left_out += max(0, len(self._line) - LINE_LIMIT)
            del self._line[LINE_LIMIT:]

    def _take_line(self) -> str:
        """End the current line, and give it as it is shown."""
        text = self._line.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "backslashreplace").expandtabs(4)
        if not text.isprintable():
            text = "".join(map(visible, text))
        cut = f" ... ({self._left_out:,} bytes of this line left out)" if self._left_out else ""
        self._line.clear()
        self._left_out = 0
        return self._rows(f"{text}{cut}")

    def _measure(self) -> None:
        """Set how much of the name, and how much of a line, is shown in a row."""
        width = _width()
        name = chop_cells(self._name, max(1, width // 2 - len(CONTINUED)))[0]
        self._name_and_room = name, max(2, width - cell_len(name) - len(CONTINUED))  # wide characters take two columns

    def _rows(self, text: str) -> str:
        """A line in rows that fit into the terminal, each behind the predictor's name."""
        name, room = self._name_and_room
        if text.isascii() and len(text) <= room:
            return f"{name} | {text}\n"
        first, *others = chop_cells(text, room) or [""]
        return "".join([f"{name} | {first}\n", *(f"{name}{CONTINUED}{row}\n" for row in others)])

    def _show(self, lines: list[str]) -> None:
        """Show lines while there is room, and keep the last of the others."""
        shown = []
        for line in lines:
            if self._shown < OUTPUT_LIMIT:
                shown.append(line)
                self._shown += len(line)
            else:
                self._hidden += len(self._tail) == TAIL_LINES
                self._tail.append(line)
        _write("".join(shown))

    def _finish(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._line:
                self._show([self._take_line()])
            if self._hidden:
                limit = f"only the first {OUTPUT_LIMIT >> 20} MiB and the last {TAIL_LINES} lines are shown"
                _write(self._rows(f"... ({self._hidden:,} lines left out: {limit})"))
            _write("".join(self._tail))


def _width() -> int:
    """Columns of the terminal that standard error is, or `WIDTH`."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or WIDTH
    except (OSError, ValueError, AttributeError):  # another file, a closed one, none
        return WIDTH


def _write(text: str) -> None:
    """Write to standard error; where there is none, or it is closed, the text is lost and the run goes on."""
    try:
        if text and sys.stderr is not None:
            sys.stderr.write(text)
            sys.stderr.flush()
    except (OSError, ValueError):
        return
