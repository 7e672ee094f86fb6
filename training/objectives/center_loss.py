"""Center loss: the plain softmax with a pull of every embedding to the centre of its class (Wen et al., 2016)."""

import torch
from torch import Tensor, nn

from training.objectives.cosine_heads import PlainSoftmax, at_least_float32
from training.ranks.world import gather_rows
from training.settings.config import Head


class CenterSoftmax(PlainSoftmax):
    """Plain softmax plus lambda / 2 times the squared distance to the class's centre (eq. 2 and 5).

    Where the paper sums over the batch, softmax loss and center loss are both means here, which leaves their
    balance lambda as it is. After each pass in training mode the centres move by eq. 4,

        c_j <- c_j - alpha sum_i [y_i = j] (c_j - x_i) / (1 + sum_i [y_i = j]),

    over the samples of all ranks. They start at zero, which favours no class, and are saved with the weights.
    """

    def __init__(self, identities: int, embedding_size: int, settings: Head) -> None:
        super().__init__(identities, embedding_size, settings)
        self.weight_of_centres, self.rate = settings.center_weight, settings.center_rate
        # No buffer: data-parallel training would send all centres to every rank at each step.
        self.centres = nn.Parameter(torch.zeros(identities, embedding_size), requires_grad=False)

    def penalty(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return lambda / 2 times the mean squared distance, then move the centres."""
        wide = at_least_float32(embeddings)
        away = wide - self.centres[labels].to(wide.dtype)
        penalty = self.weight_of_centres / 2 * away.square().sum() / max(len(labels), 1)
        if self.training:
            self._move(gather_rows(wide.detach()), gather_rows(labels))
        return penalty

    @torch.no_grad()
    def _move(self, embeddings: Tensor, labels: Tensor) -> None:
        """Move the centres of the labels in the global batch."""
        present, places, counts = labels.unique(return_inverse=True, return_counts=True)
        sums = embeddings.new_zeros(len(present), embeddings.shape[1]).index_add_(0, places, embeddings)
        counts = counts[:, None].to(embeddings.dtype)
        old = self.centres[present].to(embeddings.dtype)
        self.centres[present] = (old - self.rate * (counts * old - sums) / (1 + counts)).to(self.centres.dtype)
