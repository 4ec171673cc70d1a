"""Run the stand-in Hub by hand: `python -m hub --root FOLDER --port 0`, from the folder that holds it."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from .server import HubServer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m hub", description="A stand-in for the Hugging Face Hub.")
    parser.add_argument("--root", type=Path, required=True, help="folder for the repositories")
    parser.add_argument("--port", type=int, default=0, help="port on loopback; 0 for any that is free")
    options = parser.parse_args()
    with HubServer(options.root, port=options.port) as server:
        print(server.url, flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
