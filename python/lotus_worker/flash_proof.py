"""`python -m lotus_worker.flash_proof`: hold flash-attn against torch's own attention.

Provisioning runs it once, after installing; the model process does the same at every load. It says
what it saw on stdout and exits with 0, or says what is wrong on stderr and exits with 1.
"""

import sys

import torch

from lotus_worker.attention import disproof, import_kernel

#: The head size of Stable Diffusion 2's UNet, which Lotus' models have.
HEAD_SIZES = {64}


def main() -> int:
    """Import, and compare where there is a CUDA device."""
    try:
        kernel = import_kernel()
        if not torch.cuda.is_available():
            print("it imports; there is no CUDA device to run it on")
            return 0
        reason = disproof(kernel, torch.device("cuda"), HEAD_SIZES)
    except Exception as error:  # a broken wheel raises what it likes: ImportError, OSError, ...
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    if reason is not None:
        print(reason, file=sys.stderr)
        return 1
    print(f"it gives torch's numbers on {torch.cuda.get_device_name()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
