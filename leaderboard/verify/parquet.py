"""Read the numbers of an untrusted Parquet file in a separate process.

Arrow aborts its process on some malformed files, and a few bytes of Parquet can stand for gigabytes. So a child with
little memory reads the file: only columns of fixed width, as many rows as there must be, and only uncompressed or in
the one compression that cannot blow up (Snappy). What it says is checked again here.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __name__ != "__main__":  # the child knows nothing of the package, whose import takes seconds
    from ...utils.canonical import strict_json
    from ...utils.errors import ProtocolError

LIMIT = 64 << 20
"""Bytes of the file, and of the numbers in it; HalfCheetah's take 0.5 MB."""
MEMORY = 4 << 30
"""Address space of the child; Arrow itself reserves 1 GiB."""
SECONDS = 120.0
CODECS = {"SNAPPY", "UNCOMPRESSED"}


def read_numbers(path: Path, columns: Sequence[str], numbers: Sequence[str], rows: int) -> dict[str, list[Any]]:
    """The columns `numbers` of a Parquet file that must have just these columns and rows.

    Returns
    -------
    dict
        The numbers by column; None where one is missing or not finite.

    Raises
    ------
    ProtocolError
        If it has another form, or cannot be read.
    """
    check_size(path)
    wanted = json.dumps({"path": str(path.absolute()), "columns": columns, "numbers": numbers, "rows": rows})
    command = [sys.executable, "-P", __file__]
    try:
        done = subprocess.run(command, input=wanted.encode(), capture_output=True, timeout=SECONDS, check=False)
        said = strict_json(done.stdout.decode()) if done.returncode == 0 and len(done.stdout) <= LIMIT else {}
    except (subprocess.TimeoutExpired, ValueError):
        said = {}
    if "problem" in said:
        raise ProtocolError(f"{path}: {str(said['problem'])[:300]}.")
    found: dict[str, list[Any]] = said.get("found", {})
    if sorted(found) != sorted(numbers) or any(len(values) != rows for values in found.values()):
        raise ProtocolError(f"{path}: not readable as Parquet; the reader process crashed.")
    return found


def check_size(path: Path) -> None:
    """Raise `ProtocolError` for a file that is too large to be read."""
    if path.stat().st_size > LIMIT:
        raise ProtocolError(f"{path}: larger than {LIMIT} bytes.")


def _problem(facts: Any, wanted: dict[str, Any]) -> str | None:
    """Why a file is not the one that is wanted, from its metadata."""
    import pyarrow as pa

    rows, schema = wanted["rows"], facts.schema.to_arrow_schema()
    groups = [facts.row_group(i) for i in range(min(facts.num_row_groups, 100))]
    if facts.num_rows != rows or sum(group.num_rows for group in groups) != rows:
        return f"holds {facts.num_rows} rows, where the protocol asks for {rows}"
    fixed = (pa.int64(), pa.float64())
    if schema.names != wanted["columns"] or any(schema.field(name).type not in fixed for name in wanted["numbers"]):
        return "unexpected columns; expected those that `tipl-bench run` writes"
    chunks = [group.column(k) for group in groups for k in range(group.num_columns)]
    codecs = {chunk.compression for chunk in chunks}
    if not codecs <= CODECS:
        return f"unsupported compression {', '.join(sorted(codecs - CODECS))}; expected SNAPPY or none"
    if sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in wanted["numbers"]) > LIMIT:
        return f"its numbers take more than {LIMIT} bytes"
    return None


def _child() -> None:
    import math
    import resource

    import pyarrow as pa
    import pyarrow.parquet as pq

    with contextlib.suppress(ValueError, OSError):  # not every system limits these
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    pa.set_cpu_count(1)
    wanted = json.load(sys.stdin)
    try:
        file = pq.ParquetFile(wanted["path"])  # `read_table` would import pandas, which takes longest
        problem = _problem(file.metadata, wanted)
        if problem is None:
            table = file.read(columns=wanted["numbers"], use_threads=False)
            found = {name: table.column(name).to_pylist() for name in wanted["numbers"]}
    except Exception as error:  # whatever it is, it is the file's
        problem = f"not readable as Parquet ({str(error)[:200]})"
    if problem is not None:
        print(json.dumps({"problem": problem.encode("unicode_escape").decode()}))
        return
    finite = {
        name: [v if v is not None and math.isfinite(v) else None for v in column] for name, column in found.items()
    }
    print(json.dumps({"found": finite}))


if __name__ == "__main__":
    _child()
