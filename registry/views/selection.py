"""Trials picked out of datasets: iterated, filtered, put together, and saved as a dataset of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import index as as_index
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from ...rl import PolicyLayout
from ...utils.errors import DatasetArgumentError
from ...utils.files import link_or_copy, new_folder
from ..manifest import SourceTrials
from ..trial import TRIALS_FOLDER, Trial
from .saving import Member, saved_manifest, sources_of

if TYPE_CHECKING:
    from .sequences import WindowDataset
    from .statistics import ReturnStatistics


class DatasetSize(NamedTuple):
    """How much there is of some trials."""

    trials: int
    checkpoints: int
    """Of all trials together."""
    parameters: int
    """P, of each policy."""
    bytes: int
    """Of the trial files."""


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

        Returns
        -------
        Selection
            Those trials.

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

        Parameters
        ----------
        condition
            Takes a `Trial`; what it returns is taken as true or false.

        Returns
        -------
        Selection
            Those trials, in their order.

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
        """The trial at a place.

        Parameters
        ----------
        place
            From 0 in this selection.

        Returns
        -------
        Trial
            It keeps the number that it has in its own dataset.

        Raises
        ------
        IndexError
            If there is no such place.
        """
        if not 0 <= place < len(self):
            raise IndexError(f"{self.described} has no trial at place {place}")
        return self.members[place].trial

    @property
    def sources(self) -> tuple[SourceTrials, ...]:
        """The datasets that the trials are of, and their numbers there, in order."""
        return sources_of(self.members)

    def windows(self, *, context: int = 20, horizon: int = 10, stride: int = 1) -> WindowDataset:
        """Windows of all its trials as a torch `Dataset`.

        Parameters
        ----------
        context, horizon
            L and H, in checkpoints.
        stride
            Checkpoints between two origins.

        Returns
        -------
        WindowDataset
            As `Dataset.windows`; `trial` of a window is the place in this selection.
        """
        from .sequences import WindowDataset

        return WindowDataset(tuple(self), context=context, horizon=horizon, stride=stride, numbers=range(len(self)))

    def statistics(self) -> ReturnStatistics:
        """Final and best training returns over its trials.

        Returns
        -------
        ReturnStatistics
            In units of return.
        """
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
            If the trials do not make one dataset, one of them is damaged, or the folder exists or cannot be written.
        """
        folder = Path(folder).absolute()
        manifest = saved_manifest(self.members, name, split, self.described)
        with new_folder(folder) as partial:
            (partial / TRIALS_FOLDER).mkdir()
            for member, entry in zip(self.members, manifest.trials, strict=True):
                link_or_copy(member.trial.whole_file(member.entry).resolve(), partial / entry.path)
            manifest.write(partial)
        return folder


def concatenate(*parts: TrialSet) -> Selection:
    """Put datasets and selections of one environment and policy layout together, in order.

    Parameters
    ----------
    *parts
        Datasets and selections.

    Returns
    -------
    Selection
        All of their trials.

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
        if same := next((known[mark] for mark in member.marks if mark in known), None):
            raise DatasetArgumentError(
                f"Trial {member.trial.index} of {member.manifest.name} comes twice: it is trial {same.trial.index} of "
                f"{same.manifest.name}."
            )
        known |= dict.fromkeys(member.marks, member)
    return Selection(tuple(members), first.environment, first.layout)


def _layout_text(layout: PolicyLayout) -> str:
    cut = "not cut" if layout.observation_clip is None else f"cut at {layout.observation_clip:g}"
    return f"{' x '.join(map(str, layout.sizes))} units, {layout.distribution}, observations {cut}"
