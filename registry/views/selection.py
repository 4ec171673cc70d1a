"""Trials picked out of datasets: iterated, filtered, put together, and saved as a dataset of their own."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import index as as_index
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ...rl import PolicyLayout
from ...utils.errors import DatasetArgumentError, DatasetError
from ...utils.files import link_or_copy
from ..files import FileEntry
from ..manifest import PROPORTIONS, Manifest, SourceTrials, Split
from ..reference import is_name
from ..trial import TRIALS_FOLDER, Trial, trial_name

if TYPE_CHECKING:
    from .sequences import WindowDataset
    from .statistics import ReturnStatistics

OWN_OF_TRIALS = {"trials", "first_seed"}
"""Fields of a collection in which datasets may differ whose trials are saved as one."""


class DatasetSize(NamedTuple):
    """How much there is of some trials."""

    trials: int
    checkpoints: int
    """Of all trials together."""
    parameters: int
    """P, of each policy."""
    bytes: int
    """Of the trial files."""


@dataclass(frozen=True)
class Member:
    """One trial with the manifest that vouches for it."""

    trial: Trial
    manifest: Manifest

    @property
    def entry(self) -> FileEntry:
        """Its file, as the manifest lists it."""
        return self.manifest.trials[self.trial.index]

    @property
    def part(self) -> str:
        """Its part of the split: train, validation or test."""
        split = self.manifest.split
        return next(part for part in PROPORTIONS if self.trial.index in getattr(split, part))


class TrialSet(ABC):
    """What datasets and selections have in common: trials of one environment and policy layout, in an order."""

    @property
    @abstractmethod
    def environment(self) -> str:
        """The Gymnasium id of the environment that the policies act in."""

    @property
    @abstractmethod
    def layout(self) -> PolicyLayout:
        """The policies' layout."""

    @property
    @abstractmethod
    def members(self) -> Sequence[Member]:
        """The trials, each with its manifest."""

    def __iter__(self) -> Iterator[Trial]:
        """The trials, opened lazily; each keeps the number that it has in its own dataset."""
        return (member.trial for member in self.members)

    def select(self, trials: Iterable[int]) -> Selection:
        """The trials at some places, in the order given.

        Parameters
        ----------
        trials
            Places from 0 in this dataset or selection, each at most once.

        Raises
        ------
        DatasetArgumentError
            If there is no such trial, or one is named twice.
        """
        members, chosen = self.members, dict[int, Member]()
        for place in map(as_index, trials):
            if not 0 <= place < len(members):
                raise DatasetArgumentError(
                    f"{self.described} has trials 0 to {len(members) - 1}; there is no trial {place}."
                    if members
                    else f"{self.described} is empty; there is no trial {place}."
                )
            if place in chosen:
                raise DatasetArgumentError(f"Trial {place} is selected twice; name each trial once.")
            chosen[place] = members[place]
        return Selection(tuple(chosen.values()), self.environment, self.layout)

    def filter(self, condition: Callable[[Trial], object]) -> Selection:
        """The trials that a condition holds for.

        Examples
        --------
        >>> dataset.filter(lambda trial: trial.final_return >= dataset.solved_return)
        """
        chosen = tuple(member for member in self.members if condition(member.trial))
        return Selection(chosen, self.environment, self.layout)

    @property
    def solved_return(self) -> float:
        """The return from which on Gymnasium counts the environment as solved.

        Raises
        ------
        DatasetArgumentError
            If Gymnasium states none.
        """
        import gymnasium

        specification = gymnasium.registry.get(self.environment)
        threshold = specification.reward_threshold if specification else None
        if threshold is None:
            raise DatasetArgumentError(
                f"Gymnasium does not state from which return on {self.environment} is solved; compare "
                "`trial.final_return` with a number of your own."
            )
        return float(threshold)

    @property
    def size(self) -> DatasetSize:
        """Trials, checkpoints and parameters, and the bytes of the trial files."""
        members = self.members
        return DatasetSize(
            trials=len(members),
            checkpoints=sum(len(member.trial) for member in members),
            parameters=self.layout.parameter_count,
            bytes=sum(member.entry.size for member in members),
        )

    @property
    def described(self) -> str:
        """What a message calls it."""
        names = list(dict.fromkeys(member.manifest.name for member in self.members))
        count = len(self.members)
        return f"A selection of {count} trial{'' if count == 1 else 's'}" + (f" of {', '.join(names)}" if names else "")


class Selection(TrialSet):
    """Trials picked out of one or several datasets: a view to read, and to fit on with code of your own.

    It is no published dataset: no digest identifies it, and nothing is run on it. `save` makes a dataset of it.

    Parameters
    ----------
    members
        The trials, each with its manifest.
    environment
        The environment that all of them are of.
    layout
        The layout that all of them have.
    """

    def __init__(self, members: Sequence[Member], environment: str, layout: PolicyLayout) -> None:
        self._members, self._environment, self._layout = tuple(members), environment, layout

    @property
    def members(self) -> tuple[Member, ...]:
        """The trials, each with its manifest."""
        return self._members

    @property
    def environment(self) -> str:
        """The Gymnasium id of the environment that the policies act in."""
        return self._environment

    @property
    def layout(self) -> PolicyLayout:
        """The policies' layout."""
        return self._layout

    def __len__(self) -> int:
        return len(self.members)

    def __repr__(self) -> str:
        sources = ", ".join(f"{source.name}: {list(source.trials)}" for source in self.sources)
        return f"Selection({len(self)} trials of {self.environment}; {sources or 'none'})"

    def trial(self, place: int) -> Trial:
        """The trial at a place, from 0; it keeps the number that it has in its own dataset."""
        if not 0 <= place < len(self):
            raise IndexError(f"{self.described} has no trial at place {place}")
        return self.members[place].trial

    @property
    def sources(self) -> tuple[SourceTrials, ...]:
        """The datasets that the trials are of, and their numbers there, in order."""
        runs = groupby(self.members, lambda member: (member.manifest.name, member.manifest.digest))
        return tuple(
            SourceTrials(name=name, digest=digest, trials=tuple(member.trial.index for member in run))
            for (name, digest), run in runs
        )

    def windows(self, *, context: int = 20, horizon: int = 10, stride: int = 1) -> WindowDataset:
        """Windows of all its trials as a torch `Dataset`; `trial` of a window is the place in this selection."""
        from .sequences import WindowDataset

        return WindowDataset(tuple(self), context=context, horizon=horizon, stride=stride, numbers=range(len(self)))

    def statistics(self) -> ReturnStatistics:
        """Final and best training returns over its trials."""
        from .statistics import return_statistics

        return return_statistics({n: trial.columns["episodic_return"] for n, trial in enumerate(self)})

    def save(self, folder: Path | str, *, name: str, split: Literal["keep", "proportional"] = "keep") -> Path:
        """Make a dataset of its own of it: the same trial files, and a manifest that names what they were made from.

        Every file is verified first, and linked where the file system can, copied elsewhere. The dataset has a digest
        of its own; `load_dataset` and `run` take the folder.

        Parameters
        ----------
        folder
            Where to; must not exist.
        name
            The new dataset's name, `<environment>/<collection>-v<N>`; not that of a source.
        split
            "keep": each trial stays in the part of the split that it had, so that nothing that was fitted on it is
            tested on it. "proportional": by place, 60% train, 10% validation, 30% test.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        DatasetError
            If the trials do not make one dataset, one of them is damaged, or the folder exists.
        """
        folder = Path(folder).absolute()
        if folder.exists():
            raise DatasetArgumentError(f"{folder} exists already; choose a folder that does not.")
        manifest = self._manifest(name, split)
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        (partial / TRIALS_FOLDER).mkdir(parents=True)
        try:
            for member, entry in zip(self.members, manifest.trials, strict=True):
                link_or_copy(member.trial.whole_file(member.entry).resolve(), partial / entry.path)
            manifest.write(partial)
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder

    def _manifest(self, name: str, split: Literal["keep", "proportional"]) -> Manifest:
        """What the saved dataset states about itself."""
        if not is_name(name):
            raise DatasetArgumentError(f"{name!r} is not a dataset's name; one looks like my-env/solved-v1.")
        if name in (source.name for source in self.sources):
            raise DatasetArgumentError(f"{name} is what the trials are taken from; give the new dataset another name.")
        manifests = list({member.manifest.digest: member.manifest for member in self.members}.values())
        _check_saved_alike(manifests)
        first = manifests[0] if manifests else None
        parts = self._split(split)
        assert first is not None  # an empty selection has no split
        seeds = tuple(member.manifest.trial_seeds[member.trial.index] for member in self.members)
        changes = {
            "format": 2,
            "name": name,
            "collection": first.collection.model_copy(update={"trials": len(self), "first_seed": seeds[0]}),
            "trial_seeds": seeds,
            "split": parts,
            "versions": {key: _joined(m.versions.get(key, "none") for m in manifests) for key in first.versions},
            "cpu": _joined(m.cpu for m in manifests),
            "cut_from": first.cut_from if all(m.cut_from == first.cut_from for m in manifests) else None,
            "extends": None,
            "made_from": self.sources,
            "trials": tuple(
                member.entry.model_copy(update={"path": f"{TRIALS_FOLDER}/{trial_name(place)}"})
                for place, member in enumerate(self.members)
            ),
            "sidecars": (),
        }
        return Manifest.model_validate(first.model_copy(update=changes).model_dump())

    def _split(self, split: Literal["keep", "proportional"]) -> Split:
        if split == "proportional":
            return Split.proportional(len(self))
        if split != "keep":
            raise DatasetArgumentError(f'split is {split!r}; it can be "keep" or "proportional".')
        parts = {part: tuple(n for n, m in enumerate(self.members) if m.part == part) for part in PROPORTIONS}
        lacking = [part for part, trials in parts.items() if not trials]
        if lacking:
            raise DatasetArgumentError(
                f"{self.described} cannot keep its split: there is no {' and no '.join(lacking)} trial among them. "
                'Select one of each, or save with split="proportional".'
            )
        return Split(**parts)


def concatenate(*parts: TrialSet) -> Selection:
    """Put datasets and selections of one environment and policy layout together, in order.

    Raises
    ------
    DatasetArgumentError
        If their environments or layouts differ, or a trial comes twice.
    """
    if not parts:
        raise DatasetArgumentError("There is nothing to concatenate; give at least one dataset or selection.")
    first = parts[0]
    for part in parts[1:]:
        for what in ("environment", "layout"):
            theirs, own = getattr(part, what), getattr(first, what)
            if theirs != own:
                shown = [str(one) if what == "environment" else _layout_text(one) for one in (theirs, own)]
                raise DatasetArgumentError(
                    f"{part.described} cannot be put together with {first.described}: its {what} is {shown[0]}, not "
                    f"{shown[1]}."
                )
    members, known = [member for part in parts for member in part.members], dict[str, Member]()
    for member in members:
        weights = member.entry.tensors["weights"].sha256
        if same := known.get(weights):
            raise DatasetArgumentError(
                f"Trial {member.trial.index} of {member.manifest.name} comes twice: it is trial {same.trial.index} of "
                f"{same.manifest.name}."
            )
        known[weights] = member
    return Selection(tuple(members), first.environment, first.layout)


def _layout_text(layout: PolicyLayout) -> str:
    return f"{' x '.join(map(str, layout.sizes))} units"


def _check_saved_alike(manifests: Sequence[Manifest]) -> None:
    """The manifests' trials make one dataset; raises `DatasetError` naming the first difference."""
    for other in manifests[1:]:
        first = manifests[0]
        collections = (m.collection.model_dump(mode="json", exclude=OWN_OF_TRIALS) for m in (other, first))
        fields = [{"licence": m.licence, "checkpoints": m.checkpoints} for m in (other, first)]
        theirs, own = ({**one, **collection} for one, collection in zip(fields, collections, strict=True))
        for what in dict.fromkeys((*own, *theirs)):
            if theirs.get(what) != own.get(what):
                raise DatasetError(
                    f"Trials of {other.name} and of {first.name} do not make one dataset: {what} is "
                    f"{theirs.get(what)} of the one and {own.get(what)} of the other. A selection of both can be read, "
                    "but not saved."
                )


def _joined(values: Iterable[str]) -> str:
    """What the sources state, each once."""
    return " or ".join(dict.fromkeys(values))
