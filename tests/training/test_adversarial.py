"""Adversarial training: it makes a network more robust, and its attack leaves the state of the network unchanged."""

from __future__ import annotations

import torch

from stein_bench.attacks.attack import resolve_attack
from stein_bench.guard import copied_state
from stein_bench.models.weights import state_sha256
from stein_bench.normalization.convert import convert_batchnorm
from stein_bench.training.loop import Adversary
from tests.training.small import CPU, TASK, network, parts, recipe, stripes, training

ATTACK = "pgd:eps=16/255,steps=5"


def adversary(spec: str = ATTACK) -> Adversary:
    return Adversary(resolve_attack(spec), 3)


def robust_accuracy(made, spec: str = "pgd:eps=16/255,steps=20") -> float:
    """Return the share of the validation samples that 20 steps of PGD do not break."""
    data = parts(stripes())
    inputs, labels = data.samples.batch(data.validation.tolist())
    model = made.model.eval()
    seeds = list(range(len(labels)))
    adv = resolve_attack(spec).run(model, inputs, labels, TASK, classes=3, seeds=seeds)
    with torch.no_grad():
        return float((TASK.correct(model(adv), labels) & TASK.correct(model(inputs), labels)).double().mean())


def test_an_adversarially_trained_network_is_more_robust_than_a_plain_one():
    plain, robust = (training(recipe(epochs=8), adversary=enemy) for enemy in (None, adversary()))
    plain.run()
    robust.run()
    assert robust_accuracy(robust) > robust_accuracy(plain) + 0.2
    record = robust.history[robust.kept_epoch - 1]
    assert record.validation_accuracy >= record.validation_robust_accuracy > 0.4
    assert record.validation_robust_loss > record.validation_loss


def test_the_attack_leaves_buffers_gradients_and_flags_alone():
    model = network()
    convert_batchnorm(model, "stein")
    made = training(recipe(), model=model, adversary=adversary())
    made.run()
    before, model = copied_state(made.model), made.model.train()
    inputs, labels = stripes().batch(range(7))
    adv = made._attacked(adversary(), inputs, labels, list(range(7)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert float((adv - inputs).abs().max()) <= 16 / 255 + 1e-6
    assert adv.min() >= 0
    assert adv.max() <= 1


def test_a_batch_of_the_attack_does_not_enter_count_or_running_averages():
    """One epoch over adversarial inputs moves the averages as often as one over clean ones."""
    made = training(recipe(epochs=1), adversary=adversary())
    made.run()
    assert int(made.model[1].num_batches_tracked) == 6


def test_all_steps_are_taken_on_samples_that_are_already_broken():
    """Evaluation keeps the first broken iterate; training needs the strongest one."""
    made = training(recipe(epochs=3))
    made.run()
    inputs, labels = stripes().batch(range(60))
    attack = resolve_attack("pgd:eps=64/255,steps=10,random_start=false")
    seeds = list(range(60))
    model = made.model.eval()
    first = attack.run(model, inputs, labels, TASK, classes=3, seeds=seeds)
    last = made._attacked(Adversary(attack, 3), inputs, labels, seeds)
    with torch.no_grad():
        assert float(TASK.loss(model(last), labels).mean()) > 1.2 * float(TASK.loss(model(first), labels).mean())


def test_random_starts_depend_on_seed_epoch_and_sample_alone():
    chosen = recipe(epochs=2)
    first, again = (training(chosen, adversary=adversary()) for _ in range(2))
    first.run()
    again.run()
    assert state_sha256(first.model) == state_sha256(again.model)
    indices = parts(stripes()).train[:3]
    seeds = [first._seeds("adversarial", epoch, indices) for epoch in (0, 1)]
    assert len({seed for part in seeds for seed in part}) == 6
    assert first._seeds("adversarial", 0, indices[1:]) == seeds[0][1:]
    assert first.device == CPU
