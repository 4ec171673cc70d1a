"""Rewrite a folder of records and their evidence in the current record format.

    python scripts/migrate_records.py leaderboard/results

Every value is kept; file names and row ids do not change. Evidence names the record that it is of by a fingerprint,
which depends on the format: it is mapped to the new one. Running it again changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tipl_bench.benchmark.record import read_record
from tipl_bench.leaderboard.store.evidence import FOLDER, fingerprint, former_fingerprint
from tipl_bench.leaderboard.store.records import file_name
from tipl_bench.utils.canonical import strict_json
from tipl_bench.utils.errors import ProtocolError
from tipl_bench.utils.files import write_text


def migrate(folder: Path) -> int:
    """Rewrite what is not of the current format; returns how many records were."""
    migrated = 0
    for path in sorted(folder.glob("*.json")):
        record = read_record(path)
        document = strict_json(path.read_text(encoding="utf-8"))
        if document["format"] == record.format:
            continue
        if file_name(record) != path.name:
            raise SystemExit(f"{path}: not the record's own name, {file_name(record)}; nothing more was changed.")
        evidence = folder / FOLDER / path.name
        if evidence.exists():
            text = evidence.read_text(encoding="utf-8")
            write_text(evidence, text.replace(former_fingerprint(document), fingerprint(record)))
        write_text(path, record.model_dump_json(indent=None) + "\n")
        migrated += 1
    return migrated


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    try:
        print(f"{migrate(Path(sys.argv[1]))} records migrated")
    except ProtocolError as error:
        sys.exit(f"{error} Nothing more was changed.")
