"""What is asked of a batch: which views of each identity."""

from dataclasses import dataclass

from shards.command import UserError


@dataclass(frozen=True)
class Views:
    """The views of one identity, each from a photo of its own.

    Attributes:
        sizes: side of each view in pixels; one equal to the stored size stays as it is, a smaller one is
            reduced to it and enlarged back on the training device.
        mirror: probability 0..1 that a view is mirrored left-right, drawn for each view.
    """

    sizes: tuple[int, ...] = (128, 8, 12, 16)
    mirror: float = 0.5

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < 1:
            raise UserError(f"views of sizes {self.sizes}; give at least one size, each at least 1 pixel")
        if not 0 <= self.mirror <= 1:
            raise UserError(f"mirror probability {self.mirror}; give a value from 0 to 1")
