"""The network of the ablation: small enough to be trained hundreds of times on two CPU cores."""

from torch import nn

_CHANNELS = (32, 64, 128, 256)


def small_net(size: int, embedding_size: int) -> nn.Sequential:
    """Build SphereNet-4 with half its channels and with batch normalisation: (N, 3, size, size) -> (N, embedding_size).

    Without normalisation the embeddings of all people are nearly parallel at first, and hundreds of classes take
    thousands of steps to part; with it they part from the start.

    Args:
        size: side of the input in pixels, a multiple of 16.
        embedding_size: length of the embedding.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width in _CHANNELS:
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
        ]
        channels = width
    # (N, 256, size/16, size/16) -> (N, 256 size/16 size/16)
    layers += [nn.Flatten(), nn.Linear(channels * (size // 16) ** 2, embedding_size), nn.BatchNorm1d(embedding_size)]
    return nn.Sequential(*layers)
