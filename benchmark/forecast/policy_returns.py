"""J of policies: looked up by their bytes in the store, evaluated and kept there where they are not.

J is a function of the policy alone, and minutes of physics. The key of a return holds everything that it depends on, so
whatever evaluates policies (a run, `verify`, a submission's check, reference returns) finds what any of them evaluated
before, and goes on where a killed process stopped.

The database has a rollback journal, not a write-ahead log: a store that is read-only or on a network file system can
then be read.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ... import rl, utils
from ..._version import __version__
from ...registry.locations import cache_root
from ...registry.store import optional_write, warn_of_cache
from ...rl import Policies, PolicyLayout, evaluate_returns
from ...rl.environments import is_gymnasiums_own
from ...utils.canonical import canonical_json
from ...utils.files import is_file
from ...utils.machine import cpu_name

Float64 = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]

DATABASE_NAME = "returns.sqlite"
EVALUATION = ("evaluation.py", "forward.py", "policy.py")
"""Files of `rl` that J depends on, beside its environments: another training leaves stored returns valid."""
PACKAGES = ("gymnasium", "mujoco", "numpy", "numba")
"""The packages that J depends on."""
COMPILER_VARIABLES = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")
"""What makes numba compile for another processor than this one."""
LOCK_SECONDS = 10.0
"""How long another process may hold the database's lock."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""SQLite's codes for a file that is not the database expected."""
TABLE = "CREATE TABLE IF NOT EXISTS returns (key BLOB PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID"


@dataclass(frozen=True)
class PolicyReturns:
    """J of N policies, and where it comes from.

    Parameters
    ----------
    values
        The returns, [N]; [W, H] for the forecasts of W windows and H horizons.
    evaluated
        How many of them were evaluated now; the others were looked up.
    """

    values: Float64
    evaluated: int


def policy_returns(
    environment: str,
    layout: PolicyLayout,
    policies: Policies,
    seeds: Sequence[int],
    *,
    fresh: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> PolicyReturns:
    """J of policies, as `evaluate_returns` gives it; what the store holds is not evaluated again.

    Returns are kept as they are evaluated, so that a killed process loses those of a few seconds. Nothing is looked up
    of an environment that Gymnasium does not define itself: no version fixes what its id means.

    Parameters
    ----------
    environment, layout, policies, seeds
        As for `evaluate_returns`.
    fresh
        Look nothing up: evaluate all policies, and replace what the store holds of them.
    progress
        Called with the number of policies done so far, if any has to be evaluated.

    Raises
    ------
    ProtocolError
        If a weight or moment is not finite.
    """
    layout.check(policies.weights, "J")
    keys = list(_keys(environment, layout, policies, seeds))
    first: dict[bytes, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    database = cache_root() / DATABASE_NAME if is_gymnasiums_own(environment) else None
    found = {} if fresh or database is None else _find(database, first)
    missing = np.array([row for key, row in first.items() if key not in found], dtype=np.intp)
    done = sum(key in found for key in keys)
    evaluated = len(keys) - done
    repeats = dict.fromkeys(first, 0)
    for key in keys:
        repeats[key] += 1
    lock, kept_in = threading.Lock(), database

    def keep(rows: Index, values: Float64) -> None:
        nonlocal done, kept_in
        part = {keys[row]: float(value) for row, value in zip(missing[rows], values, strict=True)}
        with lock:
            found.update(part)
            if kept_in and not _keep(kept_in, part):
                kept_in = None  # nor would the next ones be, after as long a wait
            done += sum(repeats[key] for key in part)
            progress(done)

    if len(missing):
        progress(done)  # on one core all may be done at once
        evaluate_returns(environment, layout, policies[missing], seeds, evaluated=keep)
    return PolicyReturns(np.array([found[key] for key in keys], dtype=np.float64), evaluated)


def cached_returns() -> int:
    """How many returns the store holds; 0 where there are none to be read."""
    database = cache_root() / DATABASE_NAME
    if not is_file(database):
        return 0
    try:
        with _opened(database, "ro") as connection:
            return int(connection.execute("SELECT count(*) FROM returns").fetchone()[0])
    except sqlite3.Error:
        return 0


def _keys(environment: str, layout: PolicyLayout, policies: Policies, seeds: Sequence[int]) -> Iterator[bytes]:
    """The sha256 of everything that the return of each policy depends on."""
    shared = {
        "environment": environment,
        "layout": [*layout.sizes, layout.activation, layout.observation_clip],
        "seeds": [int(seed) for seed in seeds],
        "versions": {name: version(name) for name in PACKAGES} | {"tipl_bench": [__version__, _sources_sha256()]},
        "processor": [cpu_name(), *(os.environ.get(name, "") for name in COMPILER_VARIABLES)],
    }
    start = hashlib.sha256(canonical_json(shared).encode())
    weights = np.ascontiguousarray(policies.weights, dtype=np.float32)
    moments = np.ascontiguousarray(np.stack([policies.mean, policies.variance], axis=1), dtype=np.float64)
    for row in range(len(policies)):
        digest = start.copy()
        digest.update(weights[row])
        digest.update(moments[row])
        yield digest.digest()


@functools.cache
def _sources_sha256() -> str | None:
    """The sha256 of the sources that J is evaluated with, as they may be edited; None where there are none to read."""
    digest = hashlib.sha256()
    package = resources.files(rl)
    try:
        environments = sorted((package / "environments").iterdir(), key=lambda file: file.name)
        for file in (
            *(package / name for name in EVALUATION),
            *environments,
            resources.files(utils) / "compilation.py",
        ):
            if file.name.endswith(".py"):
                digest.update(file.read_bytes())
    except OSError:
        return None
    return digest.hexdigest()


def _find(database: Path, keys: Iterable[bytes]) -> dict[bytes, float]:
    """The returns in the store of those keys that it has."""
    found: dict[bytes, float] = {}
    if not is_file(database):
        return found
    try:
        # "rw" reads a database that may only be read, too; in one that may be written it undoes what a kill left half.
        with _opened(database, "rw") as connection:
            connection.execute("BEGIN")  # one lock, not one a key
            for key in keys:
                row = connection.execute("SELECT value FROM returns WHERE key = ?", (key,)).fetchone()
                if row and isinstance(row[0], float) and math.isfinite(row[0]):
                    found[key] = row[0]
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_ERROR:
            return {}  # another process is just creating it
        if _code(error) in DAMAGED:
            _set_aside(database, error)
        else:
            warn_of_cache(f"The cache {database} cannot be read ({error}): returns are evaluated again.")
    return found


def _keep(database: Path, returns: dict[bytes, float]) -> bool:
    """Write returns into the store; False if it cannot be written, or another process does not let go of it."""
    finite = [(key, value) for key, value in returns.items() if math.isfinite(value)]
    with optional_write("returns are evaluated again next time"):
        database.parent.mkdir(parents=True, exist_ok=True)
        try:
            _insert(database, finite)
        except sqlite3.Error as error:
            if _code(error) not in DAMAGED:
                raise OSError(f"{database.name}: {error}") from error
            _set_aside(database, error)
            with contextlib.suppress(sqlite3.Error):
                _insert(database, finite)
        return True
    return False


def _insert(database: Path, returns: list[tuple[bytes, float]]) -> None:
    # SQLite would create a file that the group cannot write, whatever the umask allows.
    os.close(os.open(database, os.O_RDWR | os.O_CREAT, 0o666))
    with _opened(database, "rw") as connection, connection:
        connection.execute(TABLE)
        connection.executemany("INSERT OR REPLACE INTO returns VALUES (?, ?)", returns)


def _opened(database: Path, mode: str) -> contextlib.closing[sqlite3.Connection]:
    address = f"{database.absolute().as_uri()}?mode={mode}"
    return contextlib.closing(sqlite3.connect(address, uri=True, timeout=LOCK_SECONDS))


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary code of an error; 0 if it is none of SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _set_aside(database: Path, error: sqlite3.Error) -> None:
    """Rename a damaged database, so that a new one is begun."""
    aside = database.with_name(f"{database.name}.damaged")
    with optional_write("returns are evaluated again next time"):
        database.replace(aside)
        warn_of_cache(f"The cache {database} is damaged ({error}); it was renamed {aside.name} and begun anew.")
