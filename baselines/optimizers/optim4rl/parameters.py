"""Files of meta-parameters: as meta-training left them and as it began, and the structure that they belong to."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ....utils.canonical import strict_json
from ....utils.errors import OptionError, reason
from ....utils.files import replace_atomically
from ....utils.text import one_line
from .rule import PRESETS, Rule

SHIPPED = Path(__file__).parent / "shipped"
LABEL = "optim4rl"
"""The file's metadata that states the rule."""


@dataclass(frozen=True)
class MetaParameters:
    """The meta-parameters of a rule, [L] each.

    Parameters
    ----------
    rule
        Its structure.
    trained, initial
        After and before meta-training.
    """

    rule: Rule
    trained: Tensor
    initial: Tensor

    @classmethod
    def read(cls, path: Path) -> MetaParameters:
        """Read a file; raises `OptionError` for one that does not hold finite meta-parameters of a known structure."""
        try:
            with safe_open(path, framework="pt") as file:
                rule = _rule(strict_json((file.metadata() or {})[LABEL]))
                found = cls(rule, *map(file.get_tensor, ("trained", "initial")))
        except (SafetensorError, OSError, LookupError, ValueError, TypeError) as error:
            raise OptionError(
                f"optim4rl: option weights: {path}: not a file of `optimizers train` ({one_line(reason(error), 200)})."
            ) from None
        expected = (found.rule.parameter_count,)
        for vector in (found.trained, found.initial):
            if vector.shape != expected or vector.dtype != torch.float32 or not vector.isfinite().all():
                raise OptionError(f"optim4rl: option weights: {path}: not {expected[0]:,} finite float32 numbers.")
        return found

    def write(self, path: Path) -> None:
        """Write a file atomically."""
        metadata = {LABEL: json.dumps(dataclasses.asdict(self.rule))}
        with replace_atomically(path) as temporary:
            save_file({"trained": self.trained, "initial": self.initial}, temporary, metadata)


def _rule(stated: Any) -> Rule:
    """A structure that meta-training can have; raises `ValueError` for any other."""
    known = {field.name for field in dataclasses.fields(Rule)}
    if not isinstance(stated, dict) or stated.keys() != known:
        raise ValueError(f"{LABEL} does not state {', '.join(sorted(known))}")
    head, switches = tuple(stated.pop("head")), stated.values()
    if head not in {rule.head for rule in PRESETS.values()} or not all(isinstance(one, bool) for one in switches):
        raise ValueError(f"{LABEL} states a structure that is none of this version's")
    return Rule(head=head, **stated)


def shipped_parameters() -> dict[str, Path]:
    """The files that ship with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.safetensors"))}


def parameters_file(place: str) -> Path:
    """A file by the name of one that ships, or by its path; raises `OptionError` if there is none."""
    shipped = shipped_parameters()
    if place in shipped:
        return shipped[place]
    path = Path(place)
    try:
        known = path.is_file()
    except OSError:  # a name too long, say
        known = False
    if not known:
        valid = ", ".join(shipped) or "none"
        raise OptionError(
            f"optim4rl: option weights: {one_line(place, 200)!r} is neither a file nor the name of meta-parameters "
            f"that ship with the package ({valid}). `tipl-bench optimizers train optim4rl` makes a file."
        )
    return path
