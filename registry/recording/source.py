"""Checkpoints in a folder: one safetensors file a trial, or one folder a trial with one file a checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ...utils.errors import DatasetError, reason
from ...utils.tensorfile import SUFFIX, Array, read_header
from .checkpoint import RecordedCheckpoint, check_follows, read_checkpoint
from .names import STATED, PolicyNames, Shape, find_policy

REMEDY = "Save it again with safetensors, as float32, float64 or int64."
LAYOUT = (
    "A folder to import holds one safetensors file a trial, with tensors [T, ...], or one folder a trial with one "
    "safetensors file a checkpoint (`docs/importing.md`)"
)


@dataclass(frozen=True)
class TrialSource:
    """A recorded trial, read checkpoint by checkpoint.

    Parameters
    ----------
    path
        Its file or its folder.
    files
        Its checkpoints' files in the order of training; none if it is one file.
    """

    path: Path
    files: tuple[Path, ...] = ()

    @cached_property
    def _stacked(self) -> Mapping[str, Array]:
        return _mapped(self.path)

    def __len__(self) -> int:
        if self.files:
            return len(self.files)
        steps = self._stacked.get("environment_steps")
        if steps is None or steps.ndim != 1:
            raise DatasetError(
                f"{self.path}: a file of a whole trial has environment_steps of shape [T], with the steps taken before "
                f"each checkpoint. {LAYOUT}."
            )
        return len(steps)

    def where(self, checkpoint: int) -> str:
        """A checkpoint's place, for messages."""
        return str(self.files[checkpoint]) if self.files else f"{self.path}, checkpoint {checkpoint}"

    def tensors(self, checkpoint: int) -> Mapping[str, Array]:
        """A checkpoint's tensors by name."""
        if not self.files:
            count = len(self)
            return {name: a[checkpoint] for name, a in self._stacked.items() if a.ndim and len(a) == count}
        tensors, number = dict(_mapped(self.files[checkpoint])), file_number(self.files[checkpoint])
        if "environment_steps" not in tensors and number is not None:
            tensors["environment_steps"] = np.array(number)
        return tensors

    def names(self, layers: Sequence[str], log_std: str | None) -> PolicyNames:
        """Where the policy's parameters are among the first checkpoint's tensors; raises as `find_policy`."""
        shapes: dict[str, Shape] = {name: value.shape for name, value in self.tensors(0).items()}
        if not self.files:  # of tensors that nothing reads, any shape is fine
            read = self._stacked if not layers else [name for name in self._stacked if name in STATED]
            odd = [name for name in read if name not in shapes and name != "seed"]
            if odd:
                raise DatasetError(
                    f"{self.path}: {odd[0]!r} has shape {list(self._stacked[odd[0]].shape)}; the first axis of a whole "
                    f"trial's tensors is that of its T = {len(self)} checkpoints."
                )
        return find_policy(shapes, self.where(0), layers=layers, log_std=log_std)

    def checkpoints(self, names: PolicyNames, count: int) -> Iterator[RecordedCheckpoint]:
        """The first checkpoints, checked and in order; raises `DatasetError` at the first that is not usable."""
        before: RecordedCheckpoint | None = None
        for number in range(count):
            checkpoint = read_checkpoint(self.tensors(number), names, self.where(number))
            if before is not None:
                check_follows(before, checkpoint, self.where(number))
            yield checkpoint
            before = checkpoint

    @property
    def seed(self) -> int | None:
        """The trial's seed, if its file or its first checkpoint's states one."""
        value = (_mapped(self.files[0]) if self.files else self._stacked).get("seed")
        if value is None:
            return None
        if value.size != 1 or value.dtype != np.int64 or value.item() < 0:
            raise DatasetError(f"{self.path}: seed is one int64 number from 0.")
        return int(value.item())


def find_trials(folder: Path) -> list[TrialSource]:
    """The trials in a folder, by name, numbers in names by value.

    Raises
    ------
    DatasetError
        If the folder is missing, empty, or holds both kinds of trials.
    """
    try:
        entries = sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=_natural)
        inner = {path: _checkpoint_files(path) for path in entries if path.is_dir()}
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({reason(error)}). {LAYOUT}.") from None
    files = [path for path in entries if path.suffix == SUFFIX and path.is_file()]
    trials = [TrialSource(path, tuple(found)) for path, found in inner.items() if found]
    if files and trials:
        raise DatasetError(f"{folder}: holds both {files[0].name} and checkpoints in {trials[0].path.name}. {LAYOUT}.")
    if not files and not trials:
        raise DatasetError(f"{folder}: no {SUFFIX} file in it or in a folder in it. {LAYOUT}.")
    return trials or [TrialSource(path) for path in files]


def file_number(path: Path) -> int | None:
    """The last number in a file's name, which is a checkpoint's environment steps unless it states them itself."""
    numbers = re.findall(r"[0-9]+", path.stem)
    return int(numbers[-1]) if numbers and len(numbers[-1]) < 16 else None


def _checkpoint_files(folder: Path) -> list[Path]:
    """A trial's checkpoint files, by the number in their names; in training they must come in that order."""
    found = (path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    return sorted(found, key=lambda path: (file_number(path) or 0, _natural(path)))


def _natural(path: Path) -> list[tuple[int, str]]:
    """A sorting key by which seed-2 comes before seed-10."""
    return [
        (int(part), "") if part.isdecimal() and part.isascii() else (-1, part)
        for part in re.split(r"([0-9]+)", path.name)
    ]


def _mapped(path: Path) -> Mapping[str, Array]:
    """A file's tensors, mapped for reading; empty ones, which cannot be, are left out."""
    try:
        spans = read_header(path, REMEDY)
        return {
            name: np.memmap(path, np.dtype(span.dtype), "r", span.start, span.shape)
            for name, span in spans.items()
            if span.size
        }
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read ({reason(error)}). {REMEDY}") from None
