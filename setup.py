"""Record the commit that a wheel is built from, so that results can name their code."""

import json
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class BuildWithCommit(build_py):
    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if module[1] != "setup"]  # this file lies among the package's own

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # the clone itself is asked
        target = Path(self.build_lib, "tipl_bench", "commit.json")
        target.unlink(missing_ok=True)
        try:
            changed = bool(git("status", "--porcelain", "--untracked-files=no"))
            target.write_text(json.dumps({"git_commit": git("rev-parse", "HEAD"), "git_dirty": changed}))
        except (OSError, subprocess.CalledProcessError):
            pass  # built from an archive


setup(cmdclass={"build_py": BuildWithCommit})
