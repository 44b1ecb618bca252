"""On what a run was made: processor, cores, instruction set, load, versions, commit."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fusedrnn import _core


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def commit(folder: Path) -> str | None:
    """The commit of the source tree that `folder` lies in, with "-dirty" after it when files differ from it.

    None when the folder is not in a git tree of this library, or git is not installed.
    """
    git = shutil.which("git")
    if git is None:
        return None

    def ask(*words: str) -> str | None:
        done = subprocess.run([git, "-C", str(folder), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    root = ask("rev-parse", "--show-toplevel")
    if root is None or not Path(root, "python", "fusedrnn").is_dir():
        return None
    return ask("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")


def describe(versions: dict[str, str]) -> dict[str, Any]:
    """Everything above, as JSON can hold it."""
    return {
        "cpu": cpu_model(),
        "cores": cores(),
        "instruction_set": _core.isa(),
        "system": platform.platform(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(Path(__file__).resolve().parent) or commit(Path.cwd()),
        "versions": {"python": platform.python_version(), **versions},
    }
