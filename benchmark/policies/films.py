"""Films of policies: one as it acts, or several side by side from one reset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ...rl.network import PolicyNetwork
from ...rl.rendering import Step, frames_per_second, rendered_episode
from ...utils.errors import OptionError
from .video import check_video, side_by_side, video


def film(
    policies: Mapping[str, PolicyNetwork],
    path: Path,
    seed: int,
    *,
    steps: int | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, float]:
    """Film policies of one environment side by side, each to its episode's end, and return what they earned.

    A policy whose episode is over stays in the picture as it ended.

    Parameters
    ----------
    policies
        By the line of text above each.
    path
        A `.gif`, or with ffmpeg an `.mp4`.
    seed
        Of the reset, the same for all.
    steps
        Film so many steps at most; returns are those up to there.
    report
        Called with the steps filmed.

    Raises
    ------
    OptionError
        For a path with another suffix, or policies of several environments.
    TiplBenchError
        If there is no renderer, or no ffmpeg.
    """
    check_video(path)
    environments = {policy.environment for policy in policies.values()}
    if len(environments) != 1:
        raise OptionError(f"Policies of several environments cannot be filmed side by side: {sorted(environments)}.")
    (environment,) = environments
    acting = {name: rendered_episode(policy, seed) for name, policy in policies.items()}
    last: dict[str, Step] = {}
    returns = dict.fromkeys(policies, 0.0)
    with video(path, frames_per_second(environment)) as write:
        done = 0
        while acting and (steps is None or done < steps):
            for name in [*acting]:
                step = next(acting[name], None)
                if step is None:
                    del acting[name]
                else:
                    last[name], returns[name] = step, returns[name] + step.reward
            if acting:
                done += 1
                captions = [f"{name}: {returns[name]:,.0f}" for name in policies]
                write(side_by_side([last[name].frame for name in policies], captions))
                report(done)
    for episode in acting.values():
        episode.close()
    return returns
