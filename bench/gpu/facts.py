"""On which GPU a run was made."""

from __future__ import annotations

import importlib
import shutil
import subprocess
from typing import Any

# What `nvidia-smi` is asked for; clocks are those of the moment.
QUERIES = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "temperature.gpu")
WAIT_S = 10.0


def gpu_facts() -> dict[str, Any]:
    """The current GPU and CuPy, as JSON can hold it."""
    cupy = importlib.import_module("cupy")
    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(runtime.getDevice())
    return {
        "name": properties["name"].decode(),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "multiprocessors": properties["multiProcessorCount"],
        "memory_gib": round(properties["totalGlobalMem"] / 2**30, 1),
        "cuda_of_driver": runtime.driverGetVersion(),
        "cuda_of_cupy": runtime.runtimeGetVersion(),
        "cupy": cupy.__version__,
    }


def clocks() -> dict[str, str]:
    """Driver, clocks, power limit and temperature of the current GPU; nothing where `nvidia-smi` does not tell."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    bus = importlib.import_module("cupy").cuda.Device().pci_bus_id
    command = [program, f"--id={bus}", f"--query-gpu={','.join(QUERIES)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT_S)
    except subprocess.TimeoutExpired:  # not worth more of the time of the GPU
        return {}
    values = [value.strip() for value in done.stdout.split(",")]
    return dict(zip(QUERIES, values, strict=True)) if done.returncode == 0 and len(values) == len(QUERIES) else {}
