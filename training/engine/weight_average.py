"""A moving average of the backbone's weights, for validation and evaluation (Polyak and Juditsky, 1992)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a state dict, which begins as the weights that a run begins with.

    After every step each floating-point entry, running statistics of batch norm too, becomes
    decay x average + (1 - decay) x weights; whole numbers, such as counts, are those of the weights.

    Args:
        backbone: of the run, with its first weights.
        decay: factor of the old average, 0..1.

    Attributes:
        values: state dict of the average, on the backbone's device.
    """

    def __init__(self, backbone: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values: dict[str, Tensor] = {name: value.clone() for name, value in backbone.state_dict().items()}

    @torch.no_grad()
    def follow(self, backbone: nn.Module) -> None:
        """Take the weights after a step into the average."""
        pairs = [(self.values[name], value) for name, value in backbone.state_dict().items()]
        averaged, weights = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
        torch._foreach_lerp_(averaged, weights, 1 - self.decay)
        for kept, value in pairs:
            if not kept.is_floating_point():
                kept.copy_(value)

    def restore(self, saved: Mapping[str, Tensor] | None) -> None:
        """Take the average out of a checkpoint.

        Raises:
            ValueError: the checkpoint has none, or one of another network.
        """
        if saved is None or saved.keys() != self.values.keys():
            raise ValueError("it holds no average of this network's weights")
        for name, value in self.values.items():
            value.copy_(saved[name])

    @contextmanager
    def lent_to(self, backbone: nn.Module) -> Iterator[None]:
        """Let a backbone have the averaged weights for a while; its own return bit by bit."""
        own = {name: value.clone() for name, value in backbone.state_dict().items()}
        backbone.load_state_dict(self.values)
        try:
            yield
        finally:
            backbone.load_state_dict(own)
