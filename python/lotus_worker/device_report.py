"""`python -m lotus_worker.device_report`: what torch sees of the GPU, in one line of JSON."""

import json
import warnings
from typing import Any

import torch
from torch import version as torch_version


def report() -> dict[str, Any]:
    """torch's version, the CUDA it was built with, and its devices or why there are none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()  # it warns about a driver that is too old
    return {
        "torch": torch.__version__,
        "cuda": torch_version.cuda,
        "available": available,
        "reason": str(caught[0].message).splitlines()[0] if caught else None,
        "devices": [device(i) for i in range(torch.cuda.device_count())] if available else [],
    }


def device(index: int) -> dict[str, Any]:
    """Name, compute capability and memory of one device."""
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    return {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": total,
        "free_bytes": free,
    }


if __name__ == "__main__":
    print(json.dumps(report()))
