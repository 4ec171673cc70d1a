"""Migrate dataset folders from manifest format 1 to format 2.

Format 1 listed what a protocol derives from a dataset (reference returns) as sidecars in its manifest, which made them
part of its digest. In format 2 they stand in `derived/pN/` with a manifest of their own. The script verifies every
byte, copies the sidecars there, writes the new manifest, removes the old copies, verifies every byte again, and prints
both digests and the dataset's entry for `catalog.toml`.

    python scripts/migrate_datasets.py FOLDER...

It may be interrupted and run again at any time: a sidecar is removed only when its verified copy is in place and the
new manifest is written. A folder that is migrated already is verified and described again.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections import defaultdict
from pathlib import Path

from tipl_bench.registry.catalog import CatalogEntry, catalog, entry_lines, identity_of
from tipl_bench.registry.dataset import Dataset
from tipl_bench.registry.derived import Derived, derived_folder, derived_protocols, write_derived
from tipl_bench.registry.files import FileEntry, verify_file
from tipl_bench.utils.errors import DatasetError, TiplBenchError


def migrate(folder: Path) -> str:
    """Migrate one dataset folder; returns a report.

    Raises
    ------
    DatasetError
        If a file is damaged, or a sidecar belongs to no protocol. The folder then keeps its old manifest.
    """
    before = Dataset.open(folder)
    before.verify()
    if before.manifest.format == 1:
        for protocol, sidecars in _by_protocol(before).items():
            _derive(before, protocol, sidecars)
        before.manifest.model_copy(update={"format": 2, "sidecars": ()}).write(folder)
    after = Dataset.open(folder)
    for protocol in derived_protocols(folder):
        derived = after.derived(protocol)
        if derived:
            _remove_old_copies(folder, derived)
    after.verify()
    if after.digest != before.digest or (before.former_digest and after.former_digest != before.former_digest):
        raise DatasetError(f"{folder}: the digests changed from {before.identity} to {after.identity}.")
    return (
        f"{folder}: {after.name}\nformat 2 digest {after.digest}\nformat 1 digest {after.former_digest}\n\n"
        + _entry(after)
    )


def _by_protocol(dataset: Dataset) -> dict[int, list[FileEntry]]:
    found = defaultdict(list)
    for entry in dataset.manifest.sidecars:
        version = re.fullmatch(r".*-p([1-9][0-9]*)\.safetensors", entry.path)
        if version is None:
            raise DatasetError(f"{dataset.folder}: sidecar {entry.path} does not name its protocol (-pN.safetensors).")
        found[int(version[1])].append(entry)
    return found


def _derive(dataset: Dataset, protocol: int, sidecars: list[FileEntry]) -> None:
    """Copy the sidecars of a protocol into its derived data, or verify the copies that an interrupted run made."""

    def write(target: Path) -> None:
        for entry in sidecars:
            (target / entry.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(dataset.folder / entry.path, target / entry.path)

    place = derived_folder(dataset.folder, protocol)
    origin = (dataset.manifest.versions, dataset.manifest.cpu)
    write_derived(dataset.folder, dataset.manifest, protocol, write, computed_with=origin)
    for entry in sidecars:
        verify_file(place / entry.path, entry)


def _remove_old_copies(folder: Path, derived: Derived) -> None:
    for entry in derived.manifest.files:
        old = folder / entry.path
        if old.is_file() and derived.file(entry.path):
            verify_file(old, entry)
            old.unlink()


def _entry(dataset: Dataset) -> str:
    """The dataset's entry for `catalog.toml`, with what the catalog knows of it already."""
    protocols = {f"p{n}": dataset.derived(n) for n in derived_protocols(dataset.folder)}
    pinned = {
        "digest": dataset.digest,
        "digest_format": 2,
        "former_digest": identity_of(dataset).former_digest or dataset.former_digest,
        "derived": {name: derived.manifest.sha256 for name, derived in protocols.items() if derived},
    }
    known = catalog().get(dataset.name)
    entry = known or CatalogEntry(environment=dataset.environment, summary="", digest=dataset.digest)
    return entry_lines(dataset.name, entry.model_copy(update=pinned))


def main(folders: list[str]) -> int:
    """Migrate every folder; 1 if one could not be."""
    if not folders:
        print(__doc__)
        return 2
    failed = False
    for folder in folders:
        try:
            print(migrate(Path(folder)))
        except TiplBenchError as error:
            print(f"Error: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
