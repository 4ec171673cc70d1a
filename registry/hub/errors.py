"""What went wrong at the Hub: the client's errors as `HubError`, with what is wrong, where, and the way out."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator

from huggingface_hub import constants, get_token, whoami
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ...utils.errors import HubError, MissingFileError
from ...utils.text import one_line
from ..reference import HubLocation
from .waiting import WAIT_VARIABLE, max_wait, seconds, wait_of

TRANSPORT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""Base of the HTTP library's errors; which library that is depends on the client's version."""
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Where the client looks for a token before it looks for a login."""


@contextlib.contextmanager
def translate_hub_errors(location: HubLocation) -> Iterator[None]:
    """Re-raise the client's errors as `HubError`, naming what is wrong, where, and the way out."""
    try:
        yield
    except (OfflineModeIsEnabled, LocalTokenNotFoundError, EntryNotFoundError, TRANSPORT_ERROR) as error:
        # The client reports whatever kept it from locating a file as an error of its own, with that as the cause.
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else None
        known = isinstance(cause, OfflineModeIsEnabled | TRANSPORT_ERROR)
        reason = cause if known and isinstance(cause, Exception) else error
        raise _translated(location, reason) from reason
    except UnicodeEncodeError:
        raise HubError(f"{location}: your access token has characters that no token has; {_new_token()}.") from None


def _translated(location: HubLocation, error: Exception) -> HubError:
    if isinstance(error, OfflineModeIsEnabled):
        return HubError(f"{location}: not on this machine, and HF_HUB_OFFLINE forbids fetching it; unset it.")
    if isinstance(error, LocalTokenNotFoundError):
        return HubError(f"{location}: writing needs a login; run `hf auth login`.")
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return MissingFileError(f"{location}: a file is missing there ({_first_line(error)}).")
    if isinstance(error, HfHubHTTPError):
        return HubError(f"{location}: {_refusal(location, error)}.")
    return HubError(
        f"{location}: the Hub cannot be reached ({_first_line(error) or type(error).__name__}); repeat the command "
        "when it can: it continues from there."
    )


def _refusal(location: HubLocation, error: HfHubHTTPError) -> str:
    """What a refusal by the Hub means, and the way out."""
    if isinstance(error, GatedRepoError):
        return _gated(location, error)
    if isinstance(error, RepositoryNotFoundError):
        user = _user()
        private = f"{user} may not see it; `hf auth login` logs in to another account" if user else _no_user()
        return f"there is no such dataset repository, or it is private and {private}"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision"
    if isinstance(error, DisabledRepoError):
        return f"the Hub has disabled this repository; {_page(location)} may say why"
    status, message = error.response.status_code, _first_line(error)
    if status == 401:
        return f"the Hub does not accept your access token ({message}); {_new_token()}" if get_token() else _no_user()
    if status == 403:
        who = _user() or "your account"
        return (
            f"{who} may not do this there (403: {message}); use a token that may, or another account: `hf auth login`"
        )
    wait = wait_of(error)
    if not wait and status == 429:
        return f"the Hub limits requests (429); wait some minutes and repeat the command: {_CONTINUES}"
    if not wait:
        return f"the Hub answered {status} ({message}); repeat the command later: {_CONTINUES}"
    limit = f", more than {seconds(max_wait())} ({WAIT_VARIABLE})" if wait > max_wait() else ""
    return f"the Hub is busy ({status}) and asks to wait {seconds(wait)}{limit}; repeat the command then: {_CONTINUES}"


_CONTINUES = "it continues from there"


def _gated(location: HubLocation, error: GatedRepoError) -> str:
    message = f" The Hub says: {_first_line(error)}"
    user = _user()
    if user is None:
        return f"the repository is gated and {_no_user()}. Ask for access at {_page(location)}.{message}".rstrip(".")
    return f"the repository is gated and {user} has no access. Ask for it at {_page(location)}.{message}".rstrip(".")


def _page(location: HubLocation) -> str:
    return f"{constants.ENDPOINT}/datasets/{location.repo}"


def _user() -> str | None:
    """The account behind the token, as it is named in a message; None without a valid token."""
    if not get_token():
        return None
    try:
        return f"{one_line(whoami(cache=True)['name'], 100)!r}, as whom you are logged in,"
    except HfHubHTTPError as error:
        return None if error.response.status_code == 401 else "your account"
    except (TRANSPORT_ERROR, OfflineModeIsEnabled, KeyError):
        return "your account"


def _no_user() -> str:
    if get_token():
        return f"your access token is not valid: {_new_token()}"
    return "you are not logged in: run `hf auth login`"


def _new_token() -> str:
    """How to replace the token that is in use."""
    variable = next((name for name in TOKEN_VARIABLES if os.environ.get(name)), None)
    return f"correct or unset {variable}" if variable else "run `hf auth login --force`"


def status_of(error: HubError) -> int | None:
    """The HTTP status behind an error, if there was one."""
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, HfHubHTTPError) else None


def is_transient(cause: BaseException | None) -> bool:
    """Whether a failure may go away by itself: a cut connection or a busy server."""
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code in (408, 429) or cause.response.status_code >= 500
    return isinstance(cause, TRANSPORT_ERROR)


def is_unreachable(error: HubError) -> bool:
    """Whether the Hub gave no answer: it is offline, or the client is."""
    cause = error.__cause__
    no_answer = isinstance(cause, TRANSPORT_ERROR) and not isinstance(cause, HfHubHTTPError)
    return no_answer or isinstance(cause, OfflineModeIsEnabled | LocalEntryNotFoundError)


def _first_line(error: BaseException) -> str:
    """What the Hub says, or an error's first line; without a malformed token, which the HTTP library quotes."""
    text = (isinstance(error, HfHubHTTPError) and error.server_message) or str(error)
    line = next((line for line in text.splitlines() if line.strip()), "")
    return one_line(re.sub(r"Bearer .*", "Bearer ...", line).strip(), 200)
