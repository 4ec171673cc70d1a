"""Videos from frames, written as they come: GIF, or MP4 with ffmpeg."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...rl.rendering import Frame
from ...utils.errors import OptionError, TiplBenchError
from ...utils.files import replace_atomically

SUFFIXES = (".gif", ".mp4")
MOST_FRAMES = 25
"""Frames that a second of a video has at most."""
CAPTION = 24
"""Height of the line above a picture, in pixels."""
GAP = 4
"""Between two pictures; even, as MP4 wants widths."""


@contextlib.contextmanager
def video(path: Path, steps_per_second: float) -> Iterator[Callable[[Frame], None]]:
    """Write a video in real time; yields a function that takes the frame of each step.

    Parameters
    ----------
    path
        Where to, with a suffix of `SUFFIXES`; the file appears when it is whole.
    steps_per_second
        Frames that are given for a second of time; at most `MOST_FRAMES` of them are written.

    Raises
    ------
    OptionError
        For another suffix.
    TiplBenchError
        For MP4 without ffmpeg.
    """
    check_video(path)
    import imageio.v2 as imageio

    every = max(1, round(steps_per_second / MOST_FRAMES))
    rate = steps_per_second / every
    gif = path.suffix == ".gif"
    settings: dict[str, Any] = {"duration": 1000 / rate, "loop": 0} if gif else {"fps": rate, "macro_block_size": 2}
    with replace_atomically(path) as temporary:
        given, named = 0, temporary.with_name(temporary.name + path.suffix)  # by which imageio knows the format
        try:
            with imageio.get_writer(named, mode="I", **settings) as opened:
                writer: Any = opened

                def write(frame: Frame) -> None:
                    nonlocal given
                    if given % every == 0:
                        writer.append_data(frame)
                    given += 1

                yield write
            named.replace(temporary)
        finally:
            named.unlink(missing_ok=True)


def check_video(path: Path) -> None:
    """Raise what `video` raises, before anything is rendered."""
    if not path.absolute().parent.is_dir():
        raise OptionError(f"{path}: there is no folder {path.parent}.")
    if path.suffix not in SUFFIXES:
        raise OptionError(f"{path}: a video's name ends in {' or '.join(SUFFIXES)}.")
    if path.suffix == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401
        except ImportError:
            raise TiplBenchError(
                f"{path}: MP4 needs ffmpeg (pip install 'tipl-bench[video]'); a .gif needs nothing more."
            ) from None


def side_by_side(frames: Sequence[Frame], captions: Sequence[str]) -> Frame:
    """Pictures of one size beside each other, each under its line of text."""
    from PIL import Image, ImageDraw

    height, width = frames[0].shape[:2]
    image = Image.new("RGB", ((width + GAP) * len(frames) - GAP, height + CAPTION), "white")
    draw = ImageDraw.Draw(image)
    for place, (frame, caption) in enumerate(zip(frames, captions, strict=True)):
        left = place * (width + GAP)
        image.paste(Image.fromarray(frame), (left, CAPTION))
        draw.text((left + 6, 5), caption, fill="black", font_size=14)
    return np.asarray(image)
