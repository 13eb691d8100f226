"""An attack: a function of (model, inputs, labels) that returns adversarial inputs.

`eps` and `seed` are given because the signature has them; `steps` is a setting that a command can change.
"""

import torch


def cooling(model, inputs, labels, *, eps, seed, steps: int = 10):
    """Signed gradient steps on the margin, first long and then shorter ones."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(inputs.shape, generator=generator).to(inputs.device) * 2 - 1
    found = (inputs + eps * start).clamp(0, 1)
    for step in range(steps):
        found.requires_grad_()
        logits = model(found)
        own = logits.gather(1, labels[:, None])[:, 0]
        others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        (gradient,) = torch.autograd.grad((others - own).sum(), found)
        moved = found.detach() + 2 * eps * (1 - step / steps) * gradient.sign()
        found = torch.min(torch.max(moved, inputs - eps), inputs + eps).clamp(0, 1)
    return found


cooling.norms = ("Linf",)  # without it any norm that the command asks for
cooling.access = "white-box"  # or "score", "decision"
