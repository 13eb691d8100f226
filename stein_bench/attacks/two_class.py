"""A two-logit view of a model with one logit, so that every attack on two classes applies to it."""

from __future__ import annotations

from torch import Tensor, nn

from stein_bench.tasks import two_logits


class TwoLogits(nn.Module):
    """A model with one logit z per sample, seen as one with the logits (-z/2, z/2).

    Softmax and cross-entropy of these are the sigmoid and the binary cross-entropy of z, and the largest logit tells
    the same class (0 where z = 0), so that attacks on a classification with two classes need nothing else. A model
    with two logits is seen as it is.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # attacks look at it, and set the flags of the whole model by it

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, 2)."""
        return two_logits(self.model(inputs))
