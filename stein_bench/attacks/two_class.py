"""A two-logit view of models with one logit, so that attacks on two classes apply to them."""

from __future__ import annotations

from torch import Tensor, nn

from stein_bench.tasks import two_logits


class TwoLogits(nn.Module):
    """Wraps a model with one logit z per sample as one with the logits (-z/2, z/2).

    Softmax and cross-entropy of these are the sigmoid and the binary cross-entropy of z, and the predicted class is the
    same (0 if z = 0), so that attacks on two-class classification apply unchanged. A model with two logits is left as
    it is.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training  # attacks read it and set the flags of the whole model from it

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, 2)."""
        return two_logits(self.model(inputs))
