"""The emulated GPU in place of a real one: the module _cuda as host code, and the stand-in for CuPy beside it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EMULATION = Path(__file__).parent / "emulation"
VARIABLE = "FUSEDRNN_EMULATED"  # names the built module


def load(path: Path) -> ModuleType:
    """The module _cuda of a file."""
    spec = importlib.util.spec_from_file_location("fusedrnn._cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def use(path: Path) -> None:
    """Compute there for the rest of this process."""
    sys.modules["fusedrnn._cuda"] = load(path)
    sys.path.insert(0, str(EMULATION))
