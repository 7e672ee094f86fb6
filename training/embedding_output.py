"""The end that residual face networks share: a feature map to an embedding."""

from torch import nn


def embedding_output(channels: int, side: int, embedding_size: int, dropout: float = 0.0) -> nn.Sequential:
    """Return BN - (dropout) - flatten - linear - BN: (N, channels, side, side) -> (N, embedding_size).

    The output of Deng et al., 2019, section 3.2.2 ("option E"), which keeps the places of the map where an average
    over it would not: in an aligned face they mean something.

    Args:
        channels: of the feature map.
        side: of the feature map, in cells.
        embedding_size: length of the embedding.
        dropout: share of the map that is dropped in training, 0 to leave the layer out. What is dropped depends on
            the number of processes, so that the project's own networks leave it out.
    """
    layers: list[nn.Module] = [nn.BatchNorm2d(channels)]
    if dropout:
        layers.append(nn.Dropout(dropout))
    layers += [nn.Flatten(), nn.Linear(channels * side * side, embedding_size), nn.BatchNorm1d(embedding_size)]
    return nn.Sequential(*layers)
