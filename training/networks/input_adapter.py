"""Pictures as the pipeline makes them, given to networks of other projects as those want them."""

from typing import Any

from torch import nn

from shards.format import Preprocessing

_HALF = 127.5


class _InputAdapter:
    """Called before a network's forward pass: RGB in [-1, 1] to the network's own colours and scale."""

    def __init__(self, form: Preprocessing) -> None:
        self._exchange = form.colour == "BGR"
        # A level is x 127.5 + 127.5, and goes in as (level - mean) / deviation.
        self._factor, self._offset = _HALF / form.deviation, (_HALF - form.mean) / form.deviation

    def __call__(self, network: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """(N, 3, S, S) -> the same shape."""
        pictures, *others = given
        if self._exchange:
            pictures = pictures.flip(1)
        if (self._factor, self._offset) != (1.0, 0.0):
            pictures = pictures * self._factor + self._offset
        return pictures, *others


def adapt_input(network: nn.Module, form: Preprocessing | None) -> nn.Module:
    """Make a network take RGB in [-1, 1], whatever colours and scale it was trained with.

    Its parameters, keys and forward pass stay as they are: the exchange happens in a hook before the pass.

    Args:
        network: changed in place; an adapter that it has is replaced.
        form: how it was trained; None to take its own input again, as its file is used elsewhere.

    Returns:
        the network.
    """
    for key, hook in list(network._forward_pre_hooks.items()):
        if isinstance(hook, _InputAdapter):
            del network._forward_pre_hooks[key]
    if form is not None and (form.colour, form.mean, form.deviation) != ("RGB", _HALF, _HALF):
        network.register_forward_pre_hook(_InputAdapter(form))
    return network
