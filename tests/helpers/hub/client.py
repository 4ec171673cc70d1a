"""What a client needs to find the server, in a process of its own or in this one."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from .server import HubServer

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def environment(server: HubServer, token: str | None = "hf_alice", *, home: Path | None = None) -> dict[str, str]:
    """Environment variables for a subprocess, to be laid over `os.environ`.

    Parameters
    ----------
    server
        The Hub.
    token
        Whose token the client sends; None for none.
    home
        `HF_HOME`, where the client keeps its cache; a folder beside the repositories unless given.
    """
    home = home or server.root / "client"
    return {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_DATASETS_CACHE": str(home / "datasets"),
        "HF_TOKEN": token or "",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        **{name: "" for proxy in _PROXIES for name in (proxy, proxy.lower())},
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }


def connect(monkeypatch: pytest.MonkeyPatch, server: HubServer, token: str | None = "hf_alice") -> Path:
    """Point the clients of this process at the server until the test ends; their `HF_HOME`.

    Both clients read the environment once, at import. So each copy of what they read is replaced, in whichever of
    their modules it lies; modules imported later read the environment, which is set too. A subprocess is
    the only way to see how an import itself reads the environment.
    """
    import huggingface_hub
    from huggingface_hub import hf_api, hf_file_system
    from huggingface_hub.utils import _http

    variables = environment(server, token)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    home = Path(variables["HF_HOME"])
    replacements = {
        **_relocated(huggingface_hub.constants, huggingface_hub.constants.HF_HOME, home),
        "HF_HUB_CACHE": variables["HF_HUB_CACHE"],
        "HF_TOKEN_PATH": str(home / "token"),
        "ENDPOINT": server.url,
        "HF_ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HUB_DATASETS_URL": server.url + "/datasets/{repo_id}/resolve/{revision}/{path}",
        "HF_URL_HOSTS": huggingface_hub.constants.HF_URL_HOSTS | {"127.0.0.1"},
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_TELEMETRY": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
        "HF_DATASETS_DISABLE_PROGRESS_BARS": True,
        "HF_HUB_DISABLE_UPDATE_CHECK": True,
    }
    if "datasets.config" in sys.modules:
        config = sys.modules["datasets.config"]
        replacements |= _relocated(config, config.HF_CACHE_HOME, home)
        replacements["HF_DATASETS_CACHE"] = home / "datasets"
    _replace_everywhere(monkeypatch, replacements)
    origins = {_http._url_origin(url) for url in ("https://huggingface.co", server.url)}
    monkeypatch.setattr(_http, "_HUB_ORIGINS", frozenset(origins))
    monkeypatch.setattr(hf_api.api, "endpoint", server.url)
    monkeypatch.setattr(hf_file_system, "hffs", hf_file_system.HfFileSystem())
    forget_connections()
    return home


def _relocated(module: Any, old: str, new: Path) -> dict[str, Any]:
    """The settings of a module that are paths under one folder, moved to another."""
    settings = {name: value for name, value in vars(module).items() if isinstance(value, str | Path)}
    return {
        name: type(value)(str(new) + str(value).removeprefix(old))
        for name, value in settings.items()
        if name.isupper() and (str(value) == old or str(value).startswith(old + os.sep))
    }


def _replace_everywhere(monkeypatch: pytest.MonkeyPatch, replacements: Mapping[str, Any]) -> None:
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("huggingface_hub", "datasets"):
            for setting in replacements.keys() & vars(module).keys():
                monkeypatch.setattr(module, setting, replacements[setting])


def forget_connections() -> None:
    """Close the client's connections and empty its listings: a later server may get the same port."""
    import huggingface_hub

    huggingface_hub.close_session()
    huggingface_hub.HfFileSystem.clear_instance_cache()


def skip_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the client retry at once; the list of the seconds it would have waited."""
    from huggingface_hub import file_download
    from huggingface_hub.utils import _http

    waits: list[float] = []
    patient = SimpleNamespace(**{**vars(time), "sleep": waits.append})
    for module in (_http, file_download):
        monkeypatch.setattr(module, "time", patient)
    return waits
