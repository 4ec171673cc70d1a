"""Validated field types that several documents share."""

from __future__ import annotations

import json
import unicodedata
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .text import SLUG_LENGTH, SLUG_PATTERN


def _plain(text: str) -> str:
    """Refuse what is not seen but changes what is: control, format (bidirectional), private, unassigned, line ends."""
    odd = [character for character in text if unicodedata.category(character)[0] == "C" or character in "\u2028\u2029"]
    if odd:
        raise ValueError(f"holds the unseen character U+{ord(odd[0]):04X}")
    return text


# A document may be a stranger's: whatever it holds has a form and a size.
TEXT_LENGTH = 500
Text = Annotated[str, Field(max_length=TEXT_LENGTH), AfterValidator(_plain)]
# Without a user before the host's name, which would be read as the host.
Address = Annotated[
    str, Field(pattern=r"^https?://[A-Za-z0-9.:-]+([/?#][A-Za-z0-9._~:/?#@!$&*+,;=%-]*)?$", max_length=300)
]
Slug = Annotated[str, Field(pattern=SLUG_PATTERN, max_length=SLUG_LENGTH)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]


def later(default: Any) -> Any:
    """A field that a document gained later: not written where it has its default, so that older documents stay the
    same bytes.
    """
    return Field(default=default, exclude_if=lambda value: bool(value == default))


class Document(BaseModel):
    """Base of what is written and read back: immutable, of known fields and finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Model = TypeVar("Model", bound=Document)


def parse(model: type[Model], document: Any) -> Model:
    """Validate parsed JSON as it stands, no text or truth value taken for a number; raises `ValidationError`."""
    return model.model_validate_json(json.dumps(document), strict=True)
