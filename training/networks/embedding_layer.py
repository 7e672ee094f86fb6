"""The end that residual face networks share: a feature map to an embedding."""

from torch import nn


def embedding_output(channels: int, side: int, embedding_size: int) -> nn.Sequential:
    """Return BN - flatten - linear - BN: (N, channels, side, side) -> (N, embedding_size).

    The output of Deng et al., 2019, section 3.2.2 ("option E"), which keeps the places of the map where an average
    over it would not: in an aligned face they mean something. Its dropout is left out: what is dropped would depend on
    the number of processes.

    Args:
        channels: of the feature map.
        side: of the feature map, in cells.
        embedding_size: length of the embedding.
    """
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.Flatten(),
        nn.Linear(channels * side * side, embedding_size),
        nn.BatchNorm1d(embedding_size),
    )
