"""Timing, progress and cancelling, stage by stage.

Upstream's call has no callback, so the stages inside it are marked by forward hooks on the three
networks. What lies between two networks (sampling the latent, say) counts to the one before.
"""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the first stage is importing torch, so this module must do without
    from torch import nn

LOAD_STAGES = ("imports", "weights", "device", "prompt", "attention")
RUN_STAGES = (
    "read",
    "resize",
    "vae_encode",
    "unet",
    "vae_decode",
    "scale_back",
    "quantize",
    "write",
)


class Stages:
    """The stages of one load or one run, in order.

    Args:
        names: every stage, in order.
        on_begin: called with the stage's name and the fraction of stages already behind it. It may
            raise to stop the work: that is how a run is cancelled.
        synchronize: waits for the device, so that a stage's time is its own and not that of the
            kernels queued before it.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        on_begin: Callable[[str, float], None],
        synchronize: Callable[[], None] = lambda: None,
    ) -> None:
        self._names = names
        self._on_begin = on_begin
        self._synchronize = synchronize
        self._current: str | None = None
        self._since = 0.0
        self._timings_ms: dict[str, float] = {}

    def begin(self, name: str) -> None:
        """End the current stage and begin another. A stage begun again adds to its time."""
        self._close()
        self._on_begin(name, self._names.index(name) / len(self._names))
        self._current, self._since = name, time.perf_counter()

    def finish(self) -> dict[str, float]:
        """End the last stage and return every stage's time in milliseconds."""
        self._close()
        return {name: round(ms, 3) for name, ms in self._timings_ms.items()}

    def _close(self) -> None:
        if self._current is None:
            return
        self._synchronize()
        elapsed = (time.perf_counter() - self._since) * 1000
        self._timings_ms[self._current] = self._timings_ms.get(self._current, 0.0) + elapsed
        self._current = None

    @contextmanager
    def watching(self, networks: "dict[str, nn.Module]") -> Generator[None]:
        """Begin the stage of that name whenever a network's forward pass starts."""

        def marks(name: str) -> "Callable[[nn.Module, object], None]":
            return lambda _module, _args: self.begin(name)

        hooks = [net.register_forward_pre_hook(marks(name)) for name, net in networks.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
