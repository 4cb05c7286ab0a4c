"""`python -m lotus_worker.flash_proof`: hold flash-attn against torch's own attention.

Provisioning runs it once, after installing; the model process does the same at every load. It
prints what it saw as one line of JSON. A wheel that takes the whole process with it prints nothing.
"""

import json
from dataclasses import asdict, dataclass

import torch

from lotus_worker.attention import disproof, import_kernel

#: The head size of Stable Diffusion 2's UNet, which Lotus' models have.
HEAD_SIZES = {64}


@dataclass
class Proof:
    """Whether it works as far as was seen, whether it was run for that, and what was seen."""

    works: bool
    compared: bool
    what: str


def prove() -> Proof:
    """Import, and compare where there is a CUDA device."""
    try:
        kernel = import_kernel()
        if not torch.cuda.is_available():
            return Proof(
                True, False, "it imports; not compared with torch: there is no CUDA device"
            )
        reason = disproof(kernel, torch.device("cuda"), HEAD_SIZES)
    except Exception as error:  # a broken wheel raises what it likes: ImportError, OSError, ...
        return Proof(False, False, f"{type(error).__name__}: {error}".splitlines()[0])
    if reason is not None:
        return Proof(False, True, reason)
    return Proof(True, True, f"it gives torch's numbers on {torch.cuda.get_device_name()}")


def main() -> None:
    """Print the proof."""
    print(json.dumps(asdict(prove())))


if __name__ == "__main__":
    main()
