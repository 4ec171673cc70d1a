"""Predictors that print what a terminal obeys, report false costs, or leave a scratch folder that is hard to remove."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import subprocess
import time
from pathlib import Path

import numpy as np
from tipl_bench.baselines.predictor import Contexts, FitTask, NoOptions, Weights

from .misbehaving import Misbehaving, note, setting


class Garish(Misbehaving):
    """Prints terminal escapes, control characters, invalid UTF-8, hidden text and overwritten lines."""

    name = "garish"

    def fit(self, task: FitTask) -> None:
        print("\x1b[31mred\x1b[0m \x9b2J\x07 \u202edetrevni\u200b\ttab", flush=True)
        os.write(2, b"\xff\xfe invalid\r\n")
        os.write(1, b"step 1\rstep 2\rstep 3\n")
        os.write(1, b"x" * 10_000 + b"\n")
        os.write(1, b"unfinished")


class Verbose(Misbehaving):
    """Prints 40 MB, then raises."""

    name = "verbose"

    def fit(self, task: FitTask) -> None:
        for number in range(400):
            os.write(1, b"".join(b"line %d of %d\n" % (line, number) for line in range(5000)))
        raise ValueError("after 40 MB")


class Unending(Misbehaving):
    """Prints a line that does not end, and a bar that is overwritten, of 20 MB each."""

    name = "unending"

    def fit(self, task: FitTask) -> None:
        for _ in range(320):
            os.write(1, b"x" * 65536)
        os.write(1, b"\n")
        for number in range(200_000):
            os.write(1, b"\rstep %6d" % number + b"." * 90)


class Typing(Misbehaving):
    """Looks for a terminal to type into."""

    name = "typing"

    def fit(self, task: FitTask) -> None:
        try:
            os.close(os.open("/dev/tty", os.O_RDONLY))
            note("terminal", "found")
        except OSError:
            note("terminal", "none")
        note("terminals", " ".join(str(number) for number in range(3) if os.isatty(number)))


class Understating(Misbehaving):
    """Takes half a second and half a GiB, and makes every clock of its own process say that it took nothing."""

    name = "understating"

    def fit(self, task: FitTask) -> None:
        time.perf_counter = time.monotonic = time.time = lambda: 0.0
        usage = resource.getrusage(resource.RUSAGE_SELF)
        resource.getrusage = lambda who: usage
        np.ones(1 << 26)
        time.sleep(0.5)


class Resetting(Misbehaving):
    """Takes half a GiB, and resets the kernel's count of its peak memory."""

    name = "resetting"

    def fit(self, task: FitTask) -> None:
        np.ones(1 << 26)
        for place in ("/proc/self", f"/proc/self/task/{os.getpid()}", f"/proc/{os.getpid()}"):
            with contextlib.suppress(OSError):
                Path(place, "clear_refs").write_text("5")
                note("reset", place)


class Sharing(Misbehaving):
    """Takes memory that is not its own: mapped and let go, in a file that is not mapped, or in the scratch folder."""

    name = "sharing"

    def fit(self, task: FitTask) -> None:
        chunk, kept = b"x" * (1 << 24), []
        for number in range(100):
            if setting("way") == "mapping":
                kept.append(mmap.mmap(-1, len(chunk)))
                kept[-1].write(chunk)
                kept[-1].madvise(mmap.MADV_DONTNEED)
            elif setting("way") == "memfd":
                kept.append(os.memfd_create("kept"))
                os.write(kept[-1], chunk)
            else:
                Path(str(number)).write_bytes(chunk)
            time.sleep(0.02)


class Untidy(Misbehaving):
    """Leaves a scratch folder that `shutil.rmtree` does not remove: 3,000 levels deep, without permissions."""

    name = "untidy"

    def fit(self, task: FitTask) -> None:
        closed = Path("closed")
        (closed / "inner").mkdir(parents=True)
        (closed / "inner" / "file").touch()
        (closed / "inner").chmod(0)
        closed.chmod(0)
        Path("elsewhere").symlink_to("/etc")
        for _ in range(3_000):
            Path("d").mkdir()
            os.chdir("d")


class Immutable(Misbehaving):
    """Leaves a file that nobody can remove, where it may."""

    name = "immutable"

    def fit(self, task: FitTask) -> None:
        Path("kept").touch()
        done = subprocess.run(["chattr", "+i", "kept"], capture_output=True, check=False)
        note("immutable", f"{done.returncode} {Path.cwd()}")


class Vanishing(Misbehaving):
    """Removes its scratch folder."""

    name = "vanishing"

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        scratch = Path(os.environ["TMPDIR"])
        for path in sorted(scratch.rglob("*"), reverse=True):
            path.unlink()
        with contextlib.suppress(OSError):
            scratch.rmdir()
        return super().predict(contexts, horizon)


class Remembering(Misbehaving):
    """Adds the mean of all windows that it has been shown so far."""

    name = "remembering"

    def __init__(self, options: NoOptions) -> None:
        super().__init__(options)
        self.shown: list[Weights] = []

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        self.shown.append(contexts.weights[:, -1])
        return super().predict(contexts, horizon) + 0.01 * np.concatenate(self.shown).mean(axis=0)


class Counting(Misbehaving):
    """Adds to the forecasts of every call but the first, so that single windows show nothing."""

    name = "counting"
    calls = 0

    def predict(self, contexts: Contexts, horizon: int) -> Weights:
        self.calls += 1
        return super().predict(contexts, horizon) + np.float32(0.01 * (self.calls > 1))


PREDICTORS = (
    *(Remembering, Counting, Garish, Verbose, Unending, Typing),
    *(Understating, Resetting, Sharing, Untidy, Immutable, Vanishing),
)
"""Installed by the fixture `misbehaving_predictors`, too."""
