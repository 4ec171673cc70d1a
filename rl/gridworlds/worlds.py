"""The eight gridworlds of Optim4RL, many at once: an agent collects objects that come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...utils.compilation import compiled

MOVES = np.array([(0, 0), (-1, 0), (0, 1), (1, 0), (0, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)], dtype=np.int64)
"""Changes of row and column by action: stay, north, east, south, west, and the diagonals."""
ABSENT = -1


@dataclass(frozen=True)
class World:
    """A gridworld: a field of cells within walls.

    Parameters
    ----------
    name
        The source's name.
    rows, columns
        Free cells; the walls are the border around them, which the observation shows as cells too.
    objects
        Of each object its reward, the probability that collecting it ends the episode, and the probability, each step,
        that an absent one comes back, on any free cell.
    steps
        Steps after which an episode ends.
    convolutional
        Whether the policy's network has a convolution before its dense layer.
    """

    name: str
    rows: int
    columns: int
    objects: tuple[tuple[float, float, float], ...]
    steps: int
    convolutional: bool

    @property
    def planes(self) -> tuple[int, int, int]:
        """The observation: planes of rows and columns with walls, one an object and a last one for the collector."""
        return (len(self.objects) + 1, self.rows + 2, self.columns + 2)


def _world(name: str, rows: int, columns: int) -> World:
    size, density, length = name.split("_")
    back, pairs = {"sparse": 0.05, "dense": 0.5}[density], {"small": 1, "big": 2}[size]
    objects = ((1.0, 0.0, back),) * pairs + ((-1.0, 0.5, back),) * pairs
    return World(name, rows, columns, objects, {"short": 50, "long": 500}[length], size == "big")


WORLDS = {
    world.name: world
    for world in (
        _world("small_sparse_short", 3, 8),
        _world("small_sparse_long", 8, 3),
        _world("small_dense_short", 4, 6),
        _world("small_dense_long", 6, 4),
        _world("big_sparse_short", 10, 12),
        _world("big_sparse_long", 12, 10),
        _world("big_dense_short", 9, 13),
        _world("big_dense_long", 13, 9),
    )
}
"""By name."""


class Gridworlds:
    """N episodes of one gridworld, each with a random stream of its own; an episode that ends begins again.

    Parameters
    ----------
    world
        The gridworld.
    streams
        Seeds [N] of the random streams.
    """

    def __init__(self, world: World, streams: Sequence[int] | npt.NDArray[np.uint64]) -> None:
        self.world = world
        self.streams = np.array(streams, dtype=np.uint64)
        self.agents = np.zeros(len(self.streams), dtype=np.int64)
        """Cells of the agents [N], counted over rows and columns without walls."""
        self.objects = np.full((len(self.streams), len(world.objects)), ABSENT, dtype=np.int64)
        """Cells of the objects [N, K]; `ABSENT` where there is none."""
        self.clocks = np.zeros(len(self.streams), dtype=np.int64)
        """Steps of the episodes so far [N]."""
        self._kinds = np.array(world.objects, dtype=np.float64)
        self.reset(np.arange(len(self.streams)))

    def __len__(self) -> int:
        return len(self.streams)

    def reset(self, ids: npt.NDArray[Any]) -> None:
        """Begin episodes: agent and objects on distinct cells drawn at random."""
        cells = self.world.rows * self.world.columns
        for one in ids:
            _begin(one, self.streams, self.agents, self.objects, self.clocks, cells)

    def step(self, actions: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Move all agents; rewards [N], and which episodes [N] ended (and have begun again)."""
        rewards = np.zeros(len(self), dtype=np.float32)
        ended = np.zeros(len(self), dtype=np.bool_)
        size = (self.world.rows, self.world.columns, self.world.steps)
        _step(actions, MOVES, self._kinds, *size, self.streams, self.agents, self.objects, self.clocks, rewards, ended)
        return rewards, ended

    def observe(self, planes: npt.NDArray[np.float32]) -> None:
        """Write observations into `planes` [N, K + 1, rows + 2, columns + 2]: 1 where something is."""
        _observe(self.world.columns, self.agents, self.objects, planes)

    def draws(self) -> npt.NDArray[np.float64]:
        """A uniform number [N] of each stream."""
        found = np.empty(len(self))
        _draw(self.streams, found)
        return found

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that later steps depend on, by name."""
        return {"streams": self.streams, "agents": self.agents, "objects": self.objects, "clocks": self.clocks}


@compiled
def _uniform(streams: Any, one: int) -> float:
    """The next number in [0, 1) of a stream: SplitMix64 (Steele, Lea and Flood 2014)."""
    streams[one] += np.uint64(0x9E3779B97F4A7C15)
    bits = streams[one]
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    return float(bits >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def _draw(streams: Any, found: Any) -> None:
    for one in range(len(streams)):
        found[one] = _uniform(streams, one)


@compiled
def _begin(one: int, streams: Any, agents: Any, objects: Any, clocks: Any, cells: int) -> None:
    clocks[one] = 0
    agents[one] = int(_uniform(streams, one) * cells)
    for kind in range(objects.shape[1]):
        taken = True
        while taken:
            cell = int(_uniform(streams, one) * cells)
            taken = cell == agents[one]
            for other in range(kind):
                taken = taken or cell == objects[one, other]
        objects[one, kind] = cell


@compiled
def _step(
    actions: Any,
    moves: Any,
    kinds: Any,
    rows: int,
    columns: int,
    steps: int,
    streams: Any,
    agents: Any,
    objects: Any,
    clocks: Any,
    rewards: Any,
    ended: Any,
) -> None:
    cells = rows * columns
    for one in range(len(agents)):
        row = agents[one] // columns + moves[actions[one], 0]
        column = agents[one] % columns + moves[actions[one], 1]
        if 0 <= row < rows and 0 <= column < columns:
            agents[one] = row * columns + column
        clocks[one] += 1
        end = clocks[one] >= steps
        for kind in range(len(kinds)):
            if objects[one, kind] == agents[one]:
                rewards[one] += kinds[kind, 0]
                objects[one, kind] = ABSENT
                end = end or _uniform(streams, one) < kinds[kind, 1]
            if objects[one, kind] == ABSENT and _uniform(streams, one) < kinds[kind, 2]:
                objects[one, kind] = int(_uniform(streams, one) * cells)
        ended[one] = end
        if end:
            _begin(one, streams, agents, objects, clocks, cells)


@compiled
def _observe(columns: int, agents: Any, objects: Any, planes: Any) -> None:
    planes[:] = 0
    last = objects.shape[1]
    for one in range(len(agents)):
        for kind in range(last):
            cell = objects[one, kind]
            if cell != ABSENT:
                planes[one, kind, cell // columns + 1, cell % columns + 1] = 1
        planes[one, last, agents[one] // columns + 1, agents[one] % columns + 1] = 1
