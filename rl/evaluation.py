"""J(pi): the mean undiscounted return of the deterministic policy over episodes with fixed resets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..utils.errors import ProtocolError
from .environments import make
from .forward import evaluation_actions
from .policy import PolicyLayout

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

CHUNK_BYTES = 8 << 20
"""Weights of the policies stepped together: small enough to stay in the processor's cache."""
CHUNK_POLICIES = 64
"""Policies stepped together, of any size: few enough that their returns are there after seconds."""


@dataclass(frozen=True)
class Policies:
    """N policies with the observation normaliser each acts with.

    Parameters
    ----------
    weights
        [N, P] float32.
    mean, variance
        Observation moments [N, O] float64.
    """

    weights: Float32
    mean: Float64
    variance: Float64

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: npt.NDArray[np.intp] | slice) -> Policies:
        return Policies(self.weights[rows], self.mean[rows], self.variance[rows])


def usable_threads() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def evaluate_returns(
    environment: str,
    layout: PolicyLayout,
    policies: Policies,
    seeds: Sequence[int],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] = lambda policies: None,
    evaluated: Callable[[npt.NDArray[np.intp], Float64], None] = lambda rows, returns: None,
) -> Float64:
    """J of many policies.

    Each episode e of every policy starts from the reset that seed e gives, the same for all policies; actions are the
    policy's mean, clipped to the action bounds, or the likeliest of discrete ones. A policy's number depends on nothing
    but the policy, its normaliser and the seeds: not on the policies beside it, nor on the number of threads (see
    `rl.forward`).

    Parameters
    ----------
    environment
        Gymnasium environment id.
    layout
        The policies' layout.
    policies
        The N policies; equal ones are evaluated once.
    seeds
        E reset seeds.
    threads
        Chunks evaluated at once; all usable cores by default.
    progress
        Called with the number of policies finished since the last call.
    evaluated
        Called with the rows of policies just finished, equal ones once, and their returns; by any of the threads.

    Returns
    -------
    ndarray
        Mean return of each policy, [N] float64.

    Raises
    ------
    ProtocolError
        If a weight or moment is not finite.
    """
    _check_finite(policies)
    layout.check(policies.weights, "J")
    if len(policies) == 0:
        return np.empty(0)
    unique, inverse = _unique(policies)
    threads = threads or usable_threads()
    chunks = _chunks(len(unique), layout.parameter_count, threads)
    repeats = np.bincount(inverse, minlength=len(unique))
    returns = np.empty(len(unique))

    def run(chunk: slice) -> None:
        returns[chunk] = _evaluate_chunk(environment, layout, policies[unique[chunk]], seeds)
        evaluated(unique[chunk], returns[chunk])
        progress(int(repeats[chunk].sum()))

    _all_of(run, chunks, threads)
    return returns[inverse]


def _all_of(run: Callable[[slice], None], chunks: list[slice], threads: int) -> None:
    """Run all chunks, some at once; after a failure nothing more is begun."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            list(pool.map(run, chunks))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _chunks(policies: int, parameters: int, threads: int) -> list[slice]:
    """Runs of policies that are stepped together."""
    size = max(1, min(CHUNK_POLICIES, CHUNK_BYTES // (4 * parameters)))
    size = min(size, -(-policies // threads))  # no thread idle when there are few
    return [slice(start, start + size) for start in range(0, policies, size)]


def _check_finite(policies: Policies) -> None:
    parts = (("weights", policies.weights), ("normaliser", policies.mean), ("normaliser", policies.variance))
    for what, array in parts:
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            raise ProtocolError(f"policy {bad[0]} of {len(policies)} has a {what} that is not finite; J is undefined.")


def _unique(policies: Policies) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows of distinct policies, and for every policy the place of its equal among them."""
    seen: dict[bytes, int] = {}
    first: list[int] = []
    inverse = np.empty(len(policies), dtype=np.intp)
    for row in range(len(policies)):
        hashed = hashlib.sha256()
        for part in (policies.weights, policies.mean, policies.variance):
            hashed.update(part[row].tobytes())
        key = hashed.digest()
        if key not in seen:
            seen[key] = len(first)
            first.append(row)
        inverse[row] = seen[key]
    return np.array(first, dtype=np.intp), inverse


def _evaluate_chunk(environment: str, layout: PolicyLayout, policies: Policies, seeds: Sequence[int]) -> Float64:
    """Mean returns [n] of a chunk, stepped by the calling thread alone."""
    episodes = len(seeds)
    simulation = make(environment, list(seeds) * len(policies), threads=1)
    weights = layout.as_kernel(policies.weights)
    sizes = np.array(layout.sizes, dtype=np.int64)
    low, high, clip = simulation.action_low, simulation.action_high, layout.observation_bound
    everyone = np.arange(len(simulation))
    ids, total = everyone, np.zeros(len(everyone))
    action = np.empty((len(everyone), layout.action_size), dtype=np.float32)
    observation = simulation.reset()
    while len(ids):
        running = action[: len(ids)]
        evaluation_actions(
            weights, sizes, policies.mean, policies.variance, clip, low, high, episodes, ids, observation, running
        )
        chosen = running.argmax(axis=1) if simulation.discrete else running
        observation, reward, terminated, truncated = simulation.step(chosen, None if ids is everyone else ids)
        total[ids] += reward
        ended = terminated | truncated
        if ended.any():
            ids, observation = ids[~ended], observation[~ended]
    returns: Float64 = total.reshape(len(policies), episodes).mean(axis=1)
    return returns
