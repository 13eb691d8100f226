"""The loop of a sweep: failing models, interruption and resume, parts, other sweeps, memory."""

from __future__ import annotations

import gc
import shutil
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from stein_bench.errors import UsageError
from stein_bench.evaluation.journal import journal_paths
from stein_bench.models.preprocessing import Preprocessed
from stein_bench.progress import Silent
from stein_bench.report.document import read_report
from stein_bench.sweep.contents import read_contents
from stein_bench.sweep.run import SweepResult, run_sweep
from tests.evaluation.test_memory import Notes
from tests.sweep.conftest import TINY, planned, results

Run = Callable[..., SweepResult]


class Interrupting(Notes):
    """Presses Ctrl-C in the middle of the `number`-th model, after its first batches."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.title, self.batches = f"model {number} of", 0

    def advance(self, samples: int, note: str = "") -> None:
        if self.notes and any(text.startswith(self.title) for text in self.notes):
            self.batches += 1
            if self.batches == 3:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed sweep."""
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    one = planned(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("stein_bench.evaluation.run.model_checks", lambda *_: [])
        result = run_sweep(one, one.folder.claim(one.own, resume=False))
    assert [outcome.status for outcome in result.outcomes] == ["done", "done", "failed", "done", "done", "done"]
    assert not result.honest
    assert "rejects inputs of shape 3×32×32" in result.outcomes[2].reason
    return folder


@pytest.mark.integration
def test_an_interrupted_sweep_with_a_broken_model_resumes_to_the_same_results(
    sweep: Run, tmp_path: Path, whole: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "cut", Interrupting(4))
    names = {path.name for path in (tmp_path / "cut").iterdir()}
    assert {"test_resnet.json", "test_efficientnet.json", "timm-test_vit3.failed.json", "sweep.json"} <= names
    assert journal_paths(tmp_path / "cut" / "test_byobnet.json")
    contents = read_contents(tmp_path / "cut")
    assert contents.unfinished == ("test_byobnet", "timm-test_vit", "test_convnext")
    with pytest.raises(UsageError, match=r"holds results of this sweep .*: add --resume to continue"):
        sweep(tmp_path / "cut")
    before = {name: (tmp_path / "cut" / name).stat().st_mtime_ns for name in names if name.startswith("test_")}
    notes = Notes()
    resumed = sweep(tmp_path / "cut", notes, resume=True)
    assert [outcome.status for outcome in resumed.outcomes] == ["found", "found", "failed", "done", "done", "done"]
    assert "model 1 of 6: test_resnet: found" in notes.notes
    assert results(tmp_path / "cut") == results(whole)
    for name in ("test_resnet.json", "test_efficientnet.json"):
        assert (tmp_path / "cut" / name).stat().st_mtime_ns == before[name]
    assert not list((tmp_path / "cut").glob("*.partial*"))


@pytest.mark.integration
def test_parts_of_a_sweep_in_one_folder_are_the_whole(sweep: Run, tmp_path: Path, whole: Path) -> None:
    for number in (2, 3, 1):
        found = sweep(tmp_path / "parts", shard=f"{number}/3")
        assert [outcome.item.entry.spec for outcome in found.outcomes] == TINY[number - 1 :: 3]
        assert found.honest is (number != 3)
    assert results(tmp_path / "parts") == results(whole)
    assert sweep(tmp_path / "parts", shard="7/7").outcomes == ()


def test_jobs_that_start_together_agree_on_the_sweep(tmp_path: Path) -> None:
    """Some are of another sweep: either theirs or the others' are refused, never both let in."""
    folder, refused, let_in = tmp_path / "runs", [], []
    jobs = [planned(folder, limit=3 + number % 2) for number in range(8)]
    barrier = threading.Barrier(len(jobs))

    def claim(number: int) -> None:
        barrier.wait()
        try:
            jobs[number].folder.claim((), resume=False)
            let_in.append(number % 2)
        except UsageError:
            refused.append(number % 2)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted([len(let_in), len(refused)]) == [4, 4]
    assert len(set(let_in)) == 1


def test_a_folder_of_another_sweep_is_refused_before_anything_is_written(sweep: Run, tmp_path: Path) -> None:
    two = {"model": ["test_resnet", "test_byobnet"]}
    sweep(tmp_path / "runs", **two)
    before = {path: path.read_bytes() for path in (tmp_path / "runs").iterdir()}
    for options, why in (
        ({**two, "limit": 3}, "other settings: limit"),
        ({"model": ["test_resnet"]}, "of 2 models, not 1"),
        ({"model": ["test_resnet", "test_vit"]}, "other models or options of theirs: test_vit"),
        ({"model": ["test_byobnet", "test_resnet"]}, "models in another order"),
    ):
        with pytest.raises(UsageError, match=f"is the folder of another sweep .{why}"):
            sweep(tmp_path / "runs", resume=True, **options)
    assert {path: path.read_bytes() for path in (tmp_path / "runs").iterdir()} == before
    (tmp_path / "runs" / "sweep.json").unlink()
    with pytest.raises(UsageError, match=r"test_resnet\.json is a report with other settings, which .* overwrite"):
        sweep(tmp_path / "runs", limit=3, resume=True, **two)
    found = sweep(tmp_path / "runs", resume=True, **two)
    assert [outcome.status for outcome in found.outcomes] == ["found", "found"]


def test_another_baseline_of_mce_makes_another_sweep(sweep: Run, tmp_path: Path) -> None:
    model = {"model": ["test_resnet"], "attack": None, "corruption": ["fog:1"]}
    for number in range(2):
        sweep(tmp_path / f"base{number}", **model)
    base = tmp_path / "base.json"
    base.write_bytes((tmp_path / "base0" / "test_resnet.json").read_bytes())
    sweep(tmp_path / "runs", **model, mce_baseline=str(base))
    base.write_bytes((tmp_path / "base1" / "test_resnet.json").read_bytes())
    with pytest.raises(UsageError, match=r"is the folder of another sweep .*test_resnet"):
        sweep(tmp_path / "runs", **model, mce_baseline=str(base), resume=True)


def test_a_failed_model_is_tried_again_and_its_file_goes_when_it_succeeds(sweep: Run, tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text("def make(num_classes):\n    raise RuntimeError('not today')\n")
    models = {"model": [f"{net}:make", "test_resnet"], "output": "unused"}
    failed = sweep(tmp_path / "runs", **models)
    assert [outcome.status for outcome in failed.outcomes] == ["failed", "done"]
    (failure,) = read_contents(tmp_path / "runs").failures
    assert failure.name == "net.py-make"
    assert "not today" in failure.reason
    net.write_text(
        "from torch import nn\n\n\ndef make(num_classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, num_classes))\n"
    )
    resumed = sweep(tmp_path / "runs", resume=True, **models)
    assert [outcome.status for outcome in resumed.outcomes] == ["done", "found"]
    contents = read_contents(tmp_path / "runs")
    assert [path.stem for path in contents.reports] == ["net.py-make", "test_resnet"]
    assert (contents.failures, contents.unfinished) == ((), ())
    assert not list((tmp_path / "runs").glob("*.failed.json"))


@pytest.mark.parametrize("error", [RuntimeError("two\nlines"), SystemExit(3), MemoryError()])
def test_whatever_a_model_raises_is_its_reason_in_one_line(
    sweep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("stein_bench.sweep.run.run_evaluation", broken)
    (outcome,) = sweep(tmp_path / "runs", model=["test_resnet"]).outcomes
    assert outcome.status == "failed"
    assert type(error).__name__ in outcome.reason
    assert "\n" not in outcome.reason


def test_an_interrupt_that_a_library_replaced_still_ends_the_sweep(
    sweep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise RuntimeError("the loader has stopped") from error

    monkeypatch.setattr("stein_bench.sweep.run.run_evaluation", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "runs", model=["test_resnet", "test_vit"])
    assert not list((tmp_path / "runs").glob("*.failed.json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attack": ["pgdd"]}, "unknown attack 'pgdd'"),
        ({"data": "npz:missing.npz"}, r"missing\.npz: no such file"),
        ({"bn": ["stain"]}, "unknown estimator 'stain'"),
        ({"weights": "missing.pt"}, r"missing\.pt"),
        ({"battery": "standart"}, "unknown battery 'standart'"),
        ({"surrogate": "resnt18"}, "unknown model 'resnt18'"),
    ],
)
def test_what_is_wrong_for_every_model_is_said_before_the_first(
    sweep: Run, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        sweep(tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


@pytest.mark.integration
def test_no_network_outlives_its_model(collected: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[weakref.ref[nn.Module]] = []
    alive: list[int] = []
    create = Preprocessed.__init__

    def recorded(self: Preprocessed, network: nn.Module, *rest: Any, **options: Any) -> None:
        create(self, network, *rest, **options)
        built.extend((weakref.ref(self), weakref.ref(network)))

    class Counting(Silent):
        def note(self, message: str) -> None:
            if message.startswith("model "):
                alive.append(sum(reference() is not None for reference in built))

    monkeypatch.setattr(Preprocessed, "__init__", recorded)
    gc.disable()  # nothing goes by chance
    try:
        collected(
            tmp_path / "runs",
            Counting(),
            bn=["sample", "stein"],
            model=["test_resnet", "timm:test_vit3", "test_byobnet"],
        )
    finally:
        gc.enable()
    assert len(built) > 6
    assert alive == [0, 0, 0]
    assert not any(reference() is not None for reference in built)


@pytest.mark.integration
def test_the_next_model_is_asked_for_once_the_last_is_done(unchecked: None, tmp_path: Path) -> None:
    """As it must be where models are dealt to processes."""
    one = planned(tmp_path / "runs", model=["test_resnet", "test_vit2"])
    finished = one.folder.claim(one.own, resume=False)
    seen = []

    def dealt() -> Any:
        for item in one.own:
            seen.append(sorted(path.stem for path in (tmp_path / "runs").glob("test*.json")))
            yield item

    run_sweep(one, finished, items=dealt())
    assert seen == [[], ["test_resnet"]]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Give networks no memory for more samples than the last number of this list."""
    limit, forward = [10**9], Preprocessed.forward

    def limited(self: Preprocessed, x: torch.Tensor) -> torch.Tensor:
        if len(x) > limit[-1]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, x)

    monkeypatch.setattr(Preprocessed, "forward", limited)
    return limit


@pytest.mark.integration
def test_out_of_memory_is_tried_in_smaller_batches_whose_results_are_theirs(
    sweep: Run, tmp_path: Path, fits: list[int]
) -> None:
    options = {"model": ["test_resnet"], "stats": ["batch"], "limit": 8, "batch_size": 8}
    direct = tmp_path / "direct"
    assert sweep(direct, **{**options, "batch_size": 2}).honest
    fits.append(3)
    (failed,) = sweep(tmp_path / "failed", **options).outcomes
    assert "out of memory" in failed.reason
    notes = Notes()
    (outcome,) = sweep(tmp_path / "retried", notes, retry_oom=True, **options).outcomes
    assert outcome.status == "done"
    assert [note for note in notes.notes if "--retry-oom" in note] == [
        f"test_resnet: {failed.reason}; --retry-oom: trying batches of {size}" for size in (4, 2)
    ]
    report = read_report(outcome.item.output)
    assert (report.run.retried_from, report.run.config["batch-size"]) == (8, 2)
    assert report.model.notes == [
        "batches of 8 ran out of memory (--retry-oom): these are results in batches of 2, and those under batch "
        "statistics hold for that size only"
    ]
    assert report.variants[0].outcomes == read_report(direct / "test_resnet.json").variants[0].outcomes
    assert not list((tmp_path / "retried").glob("*.partial*"))
    assert not list((tmp_path / "retried").glob("*.failed.json"))
    (again,) = sweep(tmp_path / "retried", resume=True, **options).outcomes
    assert again.status == "found"


@pytest.mark.integration
def test_an_attack_that_runs_out_of_memory_is_tried_again_and_a_last_time_on_single_samples(
    sweep: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stein_bench.attacks import native

    fgsm, limit = native.fgsm, [10**9]

    def hungry(network: nn.Module, inputs: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        if len(inputs) > limit[-1]:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"
            )
        found: torch.Tensor = fgsm(network, inputs, *rest, **options)
        return found

    monkeypatch.setattr(native, "fgsm", hungry)
    options = {"model": ["test_resnet"], "limit": 4, "batch_size": 4}
    assert sweep(tmp_path / "enough", **options).honest
    limit.append(1)
    assert not sweep(tmp_path / "failed", **options).honest
    (outcome,) = sweep(tmp_path / "retried", retry_oom=True, **options).outcomes
    retried, enough = (read_report(tmp_path / name / "test_resnet.json") for name in ("retried", "enough"))
    assert (outcome.dishonest, retried.run.retried_from) == (False, 4)
    assert retried.variants[0].outcomes == enough.variants[0].outcomes
    limit.append(0)
    (hopeless,) = sweep(tmp_path / "hopeless", retry_oom=True, **options).outcomes
    assert (hopeless.status, hopeless.dishonest) == ("done", True)  # the attack alone has failed
    (failed,) = read_report(hopeless.item.output).variants[0].attacks
    assert failed.message == "out of memory on a single sample; try --device cpu."


def test_an_interrupted_retry_goes_on_in_the_batches_that_it_had_reached(
    sweep: Run, tmp_path: Path, fits: list[int]
) -> None:
    options = {"model": ["test_resnet"], "stats": ["batch"], "limit": 8, "batch_size": 8, "retry_oom": True}
    fits.append(2)
    whole = sweep(tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "cut", Interrupting(1), **options)
    assert journal_paths(tmp_path / "cut" / "test_resnet.json")
    (failure,) = read_contents(tmp_path / "cut").failures
    assert (failure.retried_from, failure.next_batch_size) == (8, 2)
    notes = Notes()
    resumed = sweep(tmp_path / "cut", notes, resume=True, **options)
    assert (whole.honest, resumed.honest) == (True, True)
    assert not [note for note in notes.notes if "--retry-oom: trying" in note]
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_memory_that_smaller_batches_do_not_give_is_a_reason(
    sweep: Run, tmp_path: Path, fits: list[int], data: str, trained_anew: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("stein_bench.evaluation.networks.fit", hungry)
    notes = Notes()
    options = {"model": ["test_resnet"], "weights": "fit", "data": data, "retry_oom": True}
    (outcome,) = sweep(tmp_path / "runs", notes, **options).outcomes
    assert "training test_resnet ran out of memory; its batches are those of the recipe" in outcome.reason
    assert not [note for note in notes.notes if "--retry-oom: trying" in note]
    shutil.rmtree(tmp_path / "runs")
    fits.append(0)
    (outcome,) = sweep(tmp_path / "runs", model=["test_resnet"], retry_oom=True).outcomes
    assert "runs out of memory on two inputs" in outcome.reason
