"""Refilled evaluation, and out of memory at any batch: the same verdicts, or a clear end under batch statistics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stein_bench.attacks import native
from stein_bench.config import make_config
from stein_bench.data.samples import Samples
from stein_bench.errors import RunError, UsageError
from stein_bench.evaluation.journal import interrupted_batch_size
from stein_bench.evaluation.run import run_evaluation
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.progress import Silent
from stein_bench.report.adversarials import adversarials_path, read_adversarials
from stein_bench.report.document import Report

ATTACKS = [
    "fgsm", "pgd", "apgd-dlr:steps=5", "fab-t:steps=4", "autoattack:steps=4,queries=12", "fab:steps=4,targets=2",
    "noise-gaussian",
]  # fmt: skip


class Notes(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def run(model: str, data: str, progress: Silent | None = None, **options: Any) -> Report:
    settings = {"model": model, "data": data, "eps": "12/255", "batch_size": 16, **options}
    return run_evaluation(make_config(settings), progress=progress)


def verdicts(report: Report) -> list[Any]:
    return [variant.outcomes for variant in report.variants]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Give networks no memory for more samples than the last number of this list; collects the refused sizes."""
    limit, forward = [10**9], Preprocessed.forward
    refused: list[int] = []

    def limited(self: Preprocessed, x: Tensor) -> Tensor:
        if len(x) > limit[-1]:
            refused.append(len(x))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, x)

    monkeypatch.setattr(Preprocessed, "forward", limited)
    monkeypatch.setattr("stein_bench.attacks.losses.chunks", lambda count, device: [slice(0, count)])
    limit.append(limit[0])
    yield limit
    assert refused or limit[-1] >= 10**9


@pytest.mark.usefixtures("unchecked")
@pytest.mark.slow
def test_refilled_batches_change_no_verdict(model: str, data: str) -> None:
    reports = [run(model, data, attack=ATTACKS, refill=refill, batch_size=7) for refill in (False, True)]
    assert verdicts(reports[0]) == verdicts(reports[1])
    for one, other in zip(*(report.variants[0].attacks for report in reports), strict=True):
        assert (one.label, one.status, one.robust_accuracy) == (other.label, other.status, other.robust_accuracy)
        assert other.forward_passes >= one.forward_passes * 0.9
    assert reports[0].run.config_sha256 == reports[1].run.config_sha256


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_refilled_evaluation_goes_on_after_an_interruption_and_keeps_the_same_examples(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in ("whole.json", "resumed.json")]
    options: dict[str, Any] = {"attack": ["pgd"], "batch_size": 8, "save_adversarials": 5}
    plain = run(model, data, **options, output=str(files[0]))
    real = native.refill

    def interrupted(*args: Any, **kwargs: Any) -> Iterator[Tensor]:
        results = real(*args, **kwargs)
        for _ in range(3):
            yield next(results)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(native, "refill", interrupted)
        run(model, data, **options, refill=True, output=str(files[1]))
    resumed = run(model, data, **options, refill=True, output=str(files[1]), resume=True)
    assert verdicts(resumed) == verdicts(plain)
    assert adversarials_path(files[0]).read_bytes() == adversarials_path(files[1]).read_bytes()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("refill", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_model_that_draws_random_numbers_gives_the_same_report_for_the_same_seed(
    tmp_path: Path, data: str, refill: bool
) -> None:
    """It is not refilled: on which samples a draw falls would depend on when others finish."""
    (tmp_path / "noisy.py").write_text(NOISY)
    options: dict[str, Any] = {"attack": ["pgd", "apgd-dlr:steps=5"], "weights": "none", "batch_size": 7}
    reports = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        reports.append(run(f"{tmp_path / 'noisy.py'}:make", data, **options, refill=refill))
    plain = run(f"{tmp_path / 'noisy.py'}:make", data, **options, refill=False)
    assert verdicts(reports[0]) == verdicts(reports[1]) == verdicts(plain)
    assert len(set(verdicts(plain)[0].robust.values())) > 1


NOISY = """
import torch
from torch import nn


class Noisy(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.norm, self.num_classes = nn.BatchNorm2d(3), num_classes

    def forward(self, x):
        return (self.norm(x) + 0.3 * torch.randn_like(x)).mean(dim=(2, 3))[:, : self.num_classes]


def make(num_classes=3):
    return Noisy(num_classes)
"""


@pytest.mark.usefixtures("unchecked")
@pytest.mark.slow
def test_passes_do_not_depend_on_refilling_or_interruptions(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacks = [
        "pgd:restarts=2",
        "apgd-dlr:steps=6",
        "fab-t:steps=3",
        "square:queries=9",
        "autoattack:steps=3,queries=9",
    ]
    plain = run(model, data, attack=attacks, batch_size=8)
    expected = [(attack.forward_passes, attack.backward_passes) for attack in plain.variants[0].attacks]
    real = native.refill

    def interrupted(*args: Any, **kwargs: Any) -> Iterator[Any]:
        results = real(*args, **kwargs)
        for _ in range(3):
            yield next(results)
        raise KeyboardInterrupt

    output = str(tmp_path / "report.json")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(native, "refill", interrupted)
        run(model, data, attack=attacks, batch_size=8, refill=True, output=output)
    resumed = run(model, data, attack=attacks, batch_size=8, refill=True, output=output, resume=True)
    assert [(attack.forward_passes, attack.backward_passes) for attack in resumed.variants[0].attacks] == expected


@pytest.mark.integration
def test_a_failed_attempt_to_make_examples_again_spoils_no_finished_attack(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = str(tmp_path / "report.json")
    options: dict[str, Any] = {"batch_size": 8, "refill": True, "output": output, "save_adversarials": 3}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("stein_bench.evaluation.run.model_checks", _interrupt)
        run(model, data, attack=["pgd"], **options)

    def broken(*_: Any, **__: Any) -> Iterator[Any]:
        raise ValueError("boom")
        yield

    monkeypatch.setattr(native, "refill", broken)
    (attack,) = run(model, data, attack=["pgd"], **options, resume=True).variants[0].attacks
    assert attack.status == "ok"
    (attack,) = run(model, data, attack=["pgd"], batch_size=8, refill=True).variants[0].attacks
    assert (attack.status, attack.message) == ("failed", "ValueError: boom")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("refill", [False, True])
def test_examples_are_kept_once_if_memory_runs_out_after_them(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refill: bool
) -> None:
    from stein_bench.evaluation import outcomes

    real, calls = outcomes.disagreements, list[int]()

    def short(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(*args)

    monkeypatch.setattr(outcomes, "disagreements", short)
    path = tmp_path / "report.json"
    options: dict[str, Any] = {"attack": ["pgd"], "attack_precision": "bf16", "refill": refill}
    report = run(model, data, **options, save_adversarials=20, output=str(path))
    path.write_text(report.to_json())
    gallery = read_adversarials(report, path)
    assert gallery is not None
    assert len({example.index for example in gallery.examples}) == len(gallery.examples) == 20


@pytest.mark.integration
def test_target_classes_under_batch_statistics_come_from_the_whole_batch(
    model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stein_bench.attacks import call

    def short(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(call, "ranked_targets", short)
    failed, done = run(model, data, bn="stein", stats="batch", attack=["fab-t:steps=2", "fgsm"]).variants[0].attacks
    assert failed.status == "failed"
    assert failed.message.startswith("out of memory. Under batch statistics the batch is part of the question")
    assert done.status == "ok"


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_a_resumed_run_keeps_its_automatic_batch_size(
    model: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another amount of memory may be free by then."""
    output = tmp_path / "report.json"
    options: dict[str, Any] = {"attack": ["fgsm", "pgd"], "batch_size": "auto", "output": str(output)}
    monkeypatch.setattr("stein_bench.preparation.plan.fitting_batch_size", lambda *_: 8)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(native, "refill", _interrupt)
        run(model, data, **options)
    monkeypatch.setattr("stein_bench.preparation.plan.fitting_batch_size", lambda *_: 13)
    assert interrupted_batch_size(output) == 8
    report = run(model, data, **options, resume=True)
    assert verdicts(report) == verdicts(run(model, data, attack=["fgsm", "pgd"]))
    assert interrupted_batch_size(tmp_path / "none") is None
    (tmp_path / "other").write_text("[1]\n")
    assert interrupted_batch_size(tmp_path / "other") is None


def _interrupt(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("unchecked")
def test_an_attack_that_fails_when_refilled_is_said_so(model: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Iterator[Tensor]:
        yield next(real(*args, **kwargs))
        raise ValueError("no more")

    real = native.refill
    monkeypatch.setattr(native, "refill", broken)
    report = run(model, data, attack=["pgd", "fgsm"], refill=True, batch_size=8)
    failed, fine = report.variants[0].attacks
    assert (failed.status, failed.message) == ("failed", "ValueError: no more")
    assert fine.status == "ok"


@pytest.mark.integration
def test_data_that_cannot_be_read_are_not_taken_for_a_failed_attack(
    model: str, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Samples.batch, []

    def unreadable(self: Samples, indices: Any) -> Any:
        calls.append(len(indices))
        if len(calls) > 12:
            raise UsageError("img_7.jpg is truncated.")
        return real(self, indices)

    run(model, data, attack=["pgd"], refill=True, batch_size=8)  # trained and in the cache
    monkeypatch.setattr(Samples, "batch", unreadable)
    with pytest.raises(UsageError, match="truncated"):
        run(model, data, attack=["pgd"], refill=True, batch_size=8)


@pytest.mark.parametrize("refill", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_without_memory_batches_are_halved_once_for_all_and_no_verdict_changes(
    model: str, data: str, fits: list[int], refill: bool
) -> None:
    expected = run(model, data, attack=ATTACKS, refill=refill)
    fits.append(5)
    notes = Notes()
    report = run(model, data, notes, attack=ATTACKS, refill=refill)
    assert verdicts(report) == verdicts(expected)
    assert not report.dishonest()
    halved = [note for note in notes.notes if "out of memory" in note]
    assert [note.split(", on")[0] for note in halved] == [
        "out of memory: continuing with at most 8 samples at once",
        "out of memory: continuing with at most 4 samples at once",
    ]


@pytest.mark.integration
@pytest.mark.usefixtures("unchecked")
def test_attacks_that_draw_for_a_whole_batch_are_not_split(model: str, data: str, fits: list[int]) -> None:
    """On halves they would be other attacks, whose verdicts would depend on what ran before."""
    expected = run(model, data, attack=["pgd", "torchattacks.Square:n_queries=20"])
    fits.append(9)
    report = run(model, data, attack=["pgd", "torchattacks.Square:n_queries=20"])
    ours, library = report.variants[0].attacks
    assert verdicts(report)[0].robust[ours.label] == verdicts(expected)[0].robust[ours.label]
    assert library.status == "failed"
    assert library.message == (
        "out of memory. It draws its random numbers for the whole batch, which is therefore not split: choose a "
        "smaller --batch-size."
    )
    assert (
        run(model, data, attack=["torchattacks.Square:n_queries=20"], batch_size=8).variants[0].attacks[0].status
        == "ok"
    )


@pytest.mark.usefixtures("unchecked")
def test_only_the_batch_that_did_not_fit_is_done_again(model: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory runs out once, in the third batch of an attack."""
    sizes: list[int] = []
    real = native.refill

    def short(*args: Any, **kwargs: Any) -> Iterator[Tensor]:
        (batch,) = args[2]
        sizes.append(len(batch.seeds))
        if len(sizes) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        yield from real(args[0], args[1], [batch], *args[3:], **kwargs)

    expected = run(model, data, attack=["pgd"])
    monkeypatch.setattr(native, "refill", short)
    assert verdicts(run(model, data, attack=["pgd"])) == verdicts(expected)
    assert sizes == [16, 16, 16, 8, 8, 8, 4]


@pytest.mark.integration
def test_under_batch_statistics_the_run_stops_because_the_batch_is_part_of_the_question(
    model: str, data: str, fits: list[int], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"bn": "stein", "stats": "batch", "attack": ["pgd"]}
    run(model, data, **options)
    fits.append(9)
    with pytest.raises(RunError) as caught:
        run(model, data, **options)
    assert str(caught.value) == (
        "stein/batch, clean: out of memory. Under batch statistics the batch is part of the question, so it is not "
        "split: choose a smaller --batch-size; the results will be those of that size."
    )
    assert run(model, data, **options, batch_size=9).variants[0].attacks[0].status == "ok"


def test_a_model_too_large_for_a_single_sample_ends_in_one_line(model: str, data: str, fits: list[int]) -> None:
    run(model, data)
    fits.append(0)
    with pytest.raises((RunError, UsageError), match=r"out of memory"):
        run(model, data)


def test_a_network_that_is_no_module_of_ours_is_left_as_it_was_after_running_out_of_memory() -> None:
    from stein_bench.guard import model_untouched

    network = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    def forgetful() -> None:
        with model_untouched(network):
            network[0].running_mean.add_(1)
            network[0].num_batches_tracked.add_(1)
            network[0]._buffers["running_var"] = torch.zeros(3)
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError):
        forgetful()
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
