"""The training loop: it learns, is reproducible for a seed, keeps the best epoch and stops early."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from stein_bench.errors import RunError
from stein_bench.guard import copied_state
from stein_bench.models.weights import state_sha256
from stein_bench.normalization.convert import convert_batchnorm
from stein_bench.progress import Silent
from stein_bench.training.card import EpochRecord
from stein_bench.training.loop import Training
from stein_bench.training.objective import merit, smoothed_loss
from tests.training.small import CPU, TASK, network, parts, recipe, stripes, training


def trained(chosen=None, **options):
    made = training(chosen or recipe(), **options)
    made.run()
    return made


def test_loss_goes_down_and_accuracy_beats_chance():
    made = trained(recipe(epochs=6))
    losses = [record.loss for record in made.history]
    assert losses[-1] < 0.5 * losses[0]
    assert made.history[-1].accuracy > 0.8
    assert made.history[-1].validation_accuracy > 0.8
    assert not made.model.training


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle", "step"])
def test_every_optimizer_and_schedule_trains_reproducibly(optimizer, schedule):
    options = {"step_epochs": (1,)} if schedule == "step" else {}
    rate = 0.1 if optimizer == "sgd" else 0.01
    chosen = recipe(optimizer=optimizer, schedule=schedule, learning_rate=rate, **options)
    first, second = trained(chosen), trained(chosen)
    assert first.history[-1].loss < first.history[0].loss
    assert state_sha256(first.model) == state_sha256(second.model)


def test_the_seed_determines_the_result():
    hashes = {state_sha256(trained(seed=seed).model) for seed in (0, 0, 1)}
    assert len(hashes) == 2


def test_the_global_rng_state_is_restored():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    made = training(recipe(), model=copy.deepcopy(network()))
    torch.manual_seed(5)
    made.run()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_reading_ahead_changes_nothing():
    chosen = recipe(crop_padding=1, horizontal_flip=True)
    assert state_sha256(trained(chosen).model) == state_sha256(trained(chosen, workers=3).model)


def test_a_resumed_training_ends_like_an_uninterrupted_one():
    chosen = recipe(epochs=4, schedule="one-cycle", crop_padding=1)
    whole = trained(chosen)

    states = []

    def stop(now):
        if len(now.history) == 2:
            states.append(copy.deepcopy(now.state()))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(chosen).run(after_epoch=stop)
    resumed = training(chosen, model=network(seed=9))
    resumed.load_state(states[0])
    resumed.run()
    assert state_sha256(resumed.model) == state_sha256(whole.model)
    assert [record.model_dump(exclude={"seconds"}) for record in resumed.history] == [
        record.model_dump(exclude={"seconds"}) for record in whole.history
    ]


class Spoiled(Training):
    """A training whose weights are spoiled after every epoch from the third on."""

    def _train_epoch(self, parallel, epoch, progress):
        result = super()._train_epoch(parallel, epoch, progress)
        if epoch >= 2:
            with torch.no_grad():
                self.model[-1].weight.neg_()
        return result


def spoiled(**changes):
    data = parts(stripes())
    return Spoiled(network(), data, TASK, recipe(epochs=8, **changes), seed=0, device=CPU)


def test_the_best_state_is_a_copy_that_later_steps_do_not_change():
    made = spoiled()
    kept = []
    made.run(after_epoch=lambda now: kept.append(copied_state(now.model)))
    assert made.best_epoch == made.kept_epoch
    assert made.best_epoch < 8
    best = kept[made.best_epoch - 1]
    final = made.model.state_dict()
    assert all(torch.equal(final[name], best[name]) for name in best)
    assert not all(torch.equal(final[name], kept[-1][name]) for name in best)
    live = {tensor.data_ptr() for tensor in final.values()}
    assert live.isdisjoint(tensor.data_ptr() for tensor in copied_state(made.model).values())


def test_the_last_state_is_kept_if_the_recipe_says_so_or_without_validation():
    made = spoiled(keep="last")
    kept = []
    made.run(after_epoch=lambda now: kept.append(copied_state(now.model)))
    assert made.kept_epoch == 8
    assert all(torch.equal(made.model.state_dict()[name], tensor) for name, tensor in kept[-1].items())
    unvalidated = trained(recipe(), data=parts(stripes(), validated=0))
    assert (unvalidated.best_epoch, unvalidated.kept_epoch) == (None, 3)
    assert unvalidated.history[-1].validation_loss is None


def test_patience_ends_training_that_many_epochs_after_the_best():
    made = spoiled(patience=3, validation_share=0.2)
    made.run()
    assert made.stopped_early
    assert len(made.history) == made.best_epoch + 3 < 8
    merits = [merit(record, made.recipe) for record in made.history]
    assert made.best_epoch == merits.index(max(merits)) + 1


@pytest.mark.parametrize(
    ("monitor", "record", "expected"),
    [
        ("accuracy", {"validation_loss": 0.5, "validation_accuracy": 0.9}, 0.9),
        ("loss", {"validation_loss": 0.5, "validation_accuracy": 0.9}, -0.5),
        ("loss", {"validation_loss": math.nan, "validation_accuracy": 0.9}, -math.inf),
        ("accuracy", {"validation_accuracy": 0.9, "validation_robust_accuracy": 0.4}, 0.4),
        ("loss", {"validation_loss": 0.1, "validation_robust_loss": 2.0, "validation_robust_accuracy": 0.4}, -2.0),
    ],
)
def test_what_makes_an_epoch_better(monitor, record, expected):
    chosen = recipe(monitor=monitor)
    assert merit(EpochRecord(epoch=1, learning_rate=0.1, loss=1, accuracy=0.5, **record), chosen) == expected


@pytest.mark.parametrize("bn", ["sample", "stein", "james-stein"])
def test_layers_record_the_count_of_their_last_batch(bn):
    model = network()
    convert_batchnorm(model, bn)
    made = trained(recipe(keep="last"), model=model)
    (last,) = {len(batch) for batch in np.array_split(np.arange(180), 6)}
    assert int(made.model[1].count) == last * 64


def test_smoothing_matches_torch():
    logits, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    expected = nn.functional.cross_entropy(logits, labels, label_smoothing=0.2, reduction="none")
    torch.testing.assert_close(smoothed_loss(TASK, logits, labels, 0.2), expected)
    assert torch.equal(smoothed_loss(TASK, logits, labels, 0.0), TASK.loss(logits, labels))


def test_clipped_gradients_make_small_steps():
    model = network()
    before = copied_state(model)
    chosen = recipe(clip_norm=1e-3, epochs=1, momentum=0.0, weight_decay=0)
    trained(chosen, model=model)
    after = model.state_dict()
    moved = math.sqrt(sum(float((after[n] - before[n]).square().sum()) for n, _ in model.named_parameters()))
    assert 0 < moved <= 6 * 0.1 * 1e-3 * 1.001


def test_an_unstable_training_is_an_error_not_a_result():
    with pytest.raises(RunError, match="training became unstable: the loss of epoch"):
        trained(recipe(learning_rate=1e30))


def test_the_batches_of_an_epoch_are_even():
    sizes = []

    class Counting(Silent):
        def advance(self, samples, note=""):
            sizes.append(samples)

    training(recipe(batch_size=50, epochs=1)).run(Counting())
    assert sizes == [45, 45, 45, 45]
