"""Common corruptions in a whole run: outcomes, means, mCE, the published archive, and what is refused."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from stein_bench.attacks.attack import Attack, attack_seeds, resolve_attack, resolve_attacks
from stein_bench.attacks.corruption_specs import corruption_specs
from stein_bench.config import make_config
from stein_bench.corruptions.common import corrupted
from stein_bench.corruptions.names import EXTRA, STANDARD
from stein_bench.data import open_data
from stein_bench.errors import UsageError
from stein_bench.evaluation import records
from stein_bench.evaluation.outputs import check_overwriting
from stein_bench.evaluation.records import identity_of
from stein_bench.evaluation.run import run_evaluation
from stein_bench.evaluation.startup import start
from stein_bench.measures.mce import mce, relative_mce
from stein_bench.parts.user_code import import_file
from stein_bench.preparation.plan import prepare
from stein_bench.progress import Silent
from stein_bench.render.report.common import cells_text
from stein_bench.report.document import Report, report_schema
from stein_bench.report.packing import unpack_bits
from stein_bench.seeds import derive_seed
from tests.corrupted import write_cifarc, write_imagenetc
from tests.tiny import write_data, write_model


def run(model: str, data: str, **options: object) -> Report:
    return run_evaluation(make_config({"model": model, "data": data, **options}))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """A network that is right on most clean images; its model spec, data and weights."""
    folder = tmp_path_factory.mktemp("common")
    model, data = write_model(folder), write_data(folder, size=16)
    torch.manual_seed(0)
    network = import_file(folder / "net.py", "net.py").make(3)
    images, labels = open_data(data).samples("train").batch(range(600))
    adam = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(12):
        adam.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        adam.step()
    torch.save(network.state_dict(), folder / "weights.pth")
    return model, data, folder / "weights.pth"


@pytest.fixture(scope="module")
def report(trained: tuple[str, str, Path]) -> Report:
    """That network under two corruptions, snow at all severities and brightness at two, and an attack."""
    model, data, weights = trained
    return run(
        model, data, weights=str(weights), corruption=["snow", "brightness:3+5"], attack=["fgsm:eps=0.05"], batch_size=7
    )


def test_outcomes_are_those_of_plain_pytorch_on_the_corrupted_images(
    trained: tuple[str, str, Path], report: Report
) -> None:
    _, data, weights = trained
    samples = open_data(data).samples("test")
    images, labels = samples.batch(range(60))
    network = import_file(weights.parent / "net.py", "net.py").make(3)
    network.load_state_dict(torch.load(weights))
    network.eval()
    (variant,) = report.variants
    labels_of = [f"snow:severity={severity}" for severity in range(1, 6)]
    assert [one.label for one in variant.corruptions] == [*labels_of, "brightness:severity=3", "brightness:severity=5"]
    for one in variant.corruptions:
        severity = int(one.params["severity"])
        seeds = [derive_seed(seed, "corruption", 0) for seed in attack_seeds(0, resolve_attack(one.label), samples.ids)]
        with torch.no_grad():
            right = network(corrupted(one.name, severity, images, seeds)).argmax(1) == labels
        (bits,) = variant.outcomes.corrupted_correct[one.label]
        assert np.array_equal(unpack_bits(bits, 60), right.numpy())
        assert one.accuracy == pytest.approx(float(right.float().mean()))
    assert {one.accuracy for one in variant.corruptions} != {variant.clean.accuracy}
    jsonschema.validate(report.model_dump(mode="json"), report_schema())


def test_means_are_over_severities_and_corruptions_and_no_part_of_the_worst_case(report: Report) -> None:
    (variant,) = report.variants
    found = variant.common_corruptions
    assert found is not None
    names = ("snow", "brightness")
    shares = {name: [one.accuracy for one in variant.corruptions if one.name == name] for name in names}
    assert found.corruptions["brightness"].severities == [3, 5]
    for name, own in shares.items():
        assert found.corruptions[name].accuracies == pytest.approx(own)
        assert found.corruptions[name].accuracy == pytest.approx(np.mean(own))
    assert found.accuracy == pytest.approx(np.mean([*shares["snow"], *shares["brightness"]]))
    assert found.ci95[0] < found.accuracy < found.ci95[1]
    assert (found.standard, found.mce) == (False, None)
    assert variant.worst_case_accuracy == variant.attacks[0].robust_accuracy


@pytest.mark.integration
def test_a_sample_is_corrupted_alike_in_every_batch_and_beside_other_variants(
    trained: tuple[str, str, Path], report: Report
) -> None:
    model, data, weights = trained
    options = {"weights": str(weights), "corruption": ["snow", "brightness:3+5"]}
    whole = run(model, data, **options, batch_size=60)
    several = run(model, data, **options, stats=["running", "batch"], batch_size=20)
    before = report.variants[0].outcomes.corrupted_correct
    assert whole.variants[0].outcomes.corrupted_correct == before
    assert several.variants[0].outcomes.corrupted_correct == before
    # The second variant takes the images that were kept; alone it makes them itself.
    alone = run(model, data, **options, stats=["batch"], batch_size=20)
    batch = {variant.stats: variant.outcomes.corrupted_correct for variant in several.variants}["batch"]
    assert alone.variants[0].outcomes.corrupted_correct == batch
    assert batch != before


@pytest.mark.integration
def test_mce_is_relative_to_the_baseline_of_the_same_samples(
    trained: tuple[str, str, Path], report: Report, tmp_path: Path
) -> None:
    model, data, weights = trained
    (tmp_path / "base.json").write_text(report.to_json())
    options = {"corruption": ["snow", "brightness:3+5"], "mce_baseline": str(tmp_path / "base.json")}
    same = run(model, data, weights=str(weights), **options)
    found = same.variants[0].common_corruptions
    assert found is not None
    assert found.mce is not None
    assert (found.mce.mce, found.mce.relative_mce) == (pytest.approx(1), pytest.approx(1))
    assert found.mce.baseline_run == report.run.id
    other = run(model, data, weights="none", **options).variants[0]
    of_other, of_base = (
        {name: [1 - share for share in one.accuracies] for name, one in summary.corruptions.items()}
        for summary in (other.common_corruptions, report.variants[0].common_corruptions)
        if summary
    )
    assert other.common_corruptions is not None
    assert other.common_corruptions.mce is not None
    assert other.common_corruptions.mce.mce == pytest.approx(mce(of_other, of_base))
    clean = (1 - other.clean.accuracy, 1 - report.variants[0].clean.accuracy)
    expected = relative_mce(of_other, clean[0], of_base, clean[1])
    assert other.common_corruptions.mce.relative_mce == pytest.approx(expected)


PUBLISHED_NOTE = (
    r"common corruptions: the images of CIFAR-10-C, the published archive \(SHA-256 over those used, [0-9a-f]{12}…\)"
)


@pytest.fixture
def with_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, np.ndarray]]:
    """CIFAR-10 with four test images and CIFAR-10-C beside it, which lacks contrast."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    labels = [3, 0, 9, 1]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    for name in ("data_batch_1", "test_batch"):
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": labels}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    for key, names in (("train_list", ["data_batch_1"]), ("test_list", ["test_batch"])):
        monkeypatch.setattr(datasets.CIFAR10, key, [[name, None] for name in names])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": None})
    return f"cifar10:{tmp_path}", write_cifarc(tmp_path / "CIFAR-10-C", np.array(labels))


def test_a_published_archive_beside_the_data_is_preferred(
    with_archive: tuple[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    data, stored = with_archive
    model = write_model(tmp_path)
    asked = {"corruption": ["fog:4", "contrast:1"]}
    plan = prepare(make_config({"model": model, "data": data, "weights": "none", **asked}))
    fog, contrast = plan.attacks
    assert fog.label == "fog:severity=4,source=CIFAR-10-C"
    assert contrast.archive is None
    found = fog.corrupted(torch.zeros(2, 3, 32, 32), np.array([1, 3]), [5, 6], 0)
    assert torch.equal(found, torch.from_numpy(stored["fog"][[13, 15]]).permute(0, 3, 1, 2) / 255)
    notes = plan.samples.remarks
    assert re.fullmatch(PUBLISHED_NOTE, notes[0])
    assert notes[1].startswith("contrast, which CIFAR-10-C lacks: made by stein-bench")
    network_here = run(model, data, weights="none", corruption=["fog", "snow"])
    as_archive = run(model, f"cifar10-c:{tmp_path}", weights="none", attack=["fgsm"])
    groups = as_archive.variants[0].clean.groups or {}
    summaries = [one.variants[0].common_corruptions for one in (network_here, as_archive)]
    assert {f"{one.name}/{one.params['severity']}": one.accuracy for one in network_here.variants[0].corruptions} == {
        name: one.accuracy for name, one in groups.items() if name.partition("/")[0] in ("fog", "snow")
    }
    assert summaries[0] is not None
    assert summaries[1] is not None
    assert summaries[0].corruptions["fog"] == summaries[1].corruptions["fog"]


def test_the_images_of_the_archive_that_are_used_belong_to_the_identity_of_a_run(
    with_archive: tuple[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    data, stored = with_archive
    asked = {"model": write_model(tmp_path), "data": data, "weights": "none", "corruption": ["fog:4"], "limit": 2}

    def identity() -> tuple[dict[str, object], tuple[str, ...]]:
        plan = prepare(make_config(asked))
        return identity_of(plan, 2), plan.samples.remarks

    def write(name: str, image: int) -> None:
        changed = stored[name].copy()
        changed[image, 0, 0, 0] ^= 1
        np.save(tmp_path / "CIFAR-10-C" / f"{name}.npy", changed)

    (before, told) = identity()
    assert before["archive_sha256"] == [
        hashlib.sha256(b"uint8 cells 1 (3, 32, 32) None\n" + stored["fog"][12:14].tobytes()).hexdigest()
    ]
    write("snow", 12)
    write("fog", 14)  # the third image at severity 4, beyond the limit
    assert identity() == (before, told)
    write("fog", 13)
    assert identity()[0]["archive_sha256"] != before["archive_sha256"]
    assert identity()[1] != told
    assert {**identity()[0], "archive_sha256": 0} == {**before, "archive_sha256": 0}


def test_an_archive_of_other_images_is_refused(with_archive: tuple[str, dict[str, np.ndarray]], tmp_path: Path) -> None:
    data, _ = with_archive
    write_cifarc(tmp_path / "CIFAR-10-C", np.array([3, 0, 9, 2]))
    with pytest.raises(UsageError, match="its labels are not those of cifar10's test images"):
        prepare(make_config({"model": write_model(tmp_path), "data": data, "corruption": ["fog"]}))


def test_the_libraries_that_make_the_images_belong_to_the_identity_of_a_run(
    trained: tuple[str, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data, weights = trained
    asked = {"model": model, "data": data, "weights": str(weights)}
    plan = prepare(make_config({**asked, "corruption": ["fog:4"]}))
    before = identity_of(plan, 2)
    assert before["image_libraries"] == {"pillow": version("pillow"), "scipy": version("scipy")}
    monkeypatch.setattr(records, "version", lambda _: "99.0")
    assert identity_of(plan, 2) != before
    assert "image_libraries" not in identity_of(prepare(make_config({**asked, "attack": ["fgsm"]})), 2)


def test_severities_are_in_order_however_they_are_asked_for(trained: tuple[str, str, Path]) -> None:
    model, data, weights = trained
    found = run(model, data, weights=str(weights), corruption=["fog:3", "fog:1", "snow:1+3"], limit=10).variants[0]
    assert found.common_corruptions is not None
    assert found.common_corruptions.corruptions["fog"].severities == [1, 3]
    by_label = {one.label: one.accuracy for one in found.corruptions}
    assert found.common_corruptions.corruptions["fog"].accuracies == [
        by_label["fog:severity=1"], by_label["fog:severity=3"],
    ]  # fmt: skip
    assert cells_text(found.common_corruptions) == "2 corruptions at severities 1+3"


def test_damaged_images_are_left_out_of_a_run_and_its_baseline(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(4):
            image = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8))
            image.save(tmp_path / "images" / name / f"{number}.png")
    (tmp_path / "images" / "a" / "2.png").write_bytes(b"no picture")
    asked = {"weights": "none", "image_size": 16, "corruption": ["fog:1"]}
    model, data = write_model(tmp_path), f"imagefolder:{tmp_path / 'images'}"
    base = run(model, data, **asked)
    assert base.data.samples == 11
    (tmp_path / "base.json").write_text(base.to_json())
    found = run(model, data, **asked, mce_baseline=str(tmp_path / "base.json")).variants[0].common_corruptions
    assert found is not None
    assert found.mce is not None
    assert found.mce.mce == pytest.approx(1)


@pytest.mark.integration
def test_a_baseline_with_other_draws_is_named_so(
    trained: tuple[str, str, Path], report: Report, tmp_path: Path
) -> None:
    model, data, weights = trained
    (tmp_path / "base.json").write_text(report.to_json())
    asked = {"corruption": ["snow:1"], "mce_baseline": str(tmp_path / "base.json"), "weights": str(weights)}
    for seed, expected in ((0, "sample/running"), (1, "sample/running under other draws (seed 0)")):
        found = run(model, data, **asked, seed=seed).variants[0].common_corruptions
        assert found is not None
        assert found.mce is not None
        assert found.mce.baseline.endswith(expected)


def test_a_run_without_attacks_has_clean_accuracies_alone(trained: tuple[str, str, Path]) -> None:
    model, data, weights = trained
    (variant,) = run(model, data, weights=str(weights), attack=["none"]).variants
    assert (variant.attacks, variant.corruptions, variant.worst_case_accuracy) == ([], [], None)
    assert variant.clean.accuracy > 0


def test_specs_stand_for_severities_and_sets() -> None:
    assert corruption_specs(("fog:3",)) == corruption_specs(("fog:severity=3",)) == ["fog:severity=3"]
    assert corruption_specs(("Jpeg-Compression:1+5",)) == [
        "jpeg_compression:severity=1",
        "jpeg_compression:severity=5",
    ]
    assert corruption_specs(("fog:3+1+3",)) == ["fog:severity=1", "fog:severity=3"]
    assert len(corruption_specs(("standard",))) == 75
    assert [spec.partition(":")[0] for spec in corruption_specs(("extra:2",))] == list(EXTRA)
    assert corruption_specs(("noise-gaussian:std=0.1",)) == ["noise-gaussian:std=0.1"]
    assert [attack.label for attack in resolve_attacks(["fog"])] == [f"fog:severity={level}" for level in range(1, 6)]
    assert len(resolve_attacks([], battery=STANDARD)) == 75
    config = make_config({"model": "m", "corruption": ["fog"]})
    assert config.attack == ()
    assert make_config({"model": "m", "corruption": ["fog"], "attack": ["fgsm"]}).attack == ("fgsm",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruption": ["fgo"]}, r"unknown corruption 'fgo'\. Did you mean 'fog'"),
        ({"corruption": ["jpeg"]}, r"unknown corruption 'jpeg'\. Did you mean jpeg_compression\?"),
        ({"corruption": ["blur"]}, r"Did you mean defocus_blur or glass_blur or motion_blur or zoom_blur or gaussian"),
        ({"corruption": ["fog,snow"]}, r"'fog,snow': repeat the option for several, --corruption fog --corruption"),
        ({"corruption": ["weather"]}, r"unknown corruption 'weather'\. Known: standard, extra, gaussian_noise, shot"),
        ({"attack": ["none", "pgd"]}, r"'none' stands alone: it means that no attack is run"),
        ({"corruption": ["fog:6"]}, r"corruption 'fog:6': '6' is no severity; they are 1 to 5"),
        ({"corruption": ["fog:"]}, r"'' is no severity"),
        ({"corruption": ["fog:eps=3"]}, r"a common corruption has a severity only"),
        ({"corruption": ["pgd:eps=0.1"]}, r"'pgd' is an attack, not a corruption: give it with --attack pgd:eps=0\.1"),
        ({"corruption": ["fog:2", "fog"]}, r"given twice"),
        ({"corruption": ["fog"], "battery": "corruptions"}, r"in the battery already"),
        ({"attack": ["fog:severity=0"]}, r"severity of fog must be 1, 2, 3, 4 or 5, not 0"),
        ({"attack": ["fog:std=1"]}, r"std.*severity"),
        ({"attack": ["fgsm"], "mce_baseline": "alexnet"}, r"there is no common corruption; add --battery corruptions"),
        (
            {"corruption": ["fog"], "mce_baseline": "alexnet"},
            r"are for imagenet-c:ROOT with images of 224×224 pixels only",
        ),
        ({"corruption": ["fog"], "mce_baseline": "none.json"}, r"cannot read the report 'none\.json'"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    trained: tuple[str, str, Path], options: dict[str, object], message: str
) -> None:
    model, data, weights = trained
    with pytest.raises(UsageError, match=message) as caught:
        prepare(make_config({"model": model, "data": data, "weights": str(weights), **options}))
    assert "\n" not in str(caught.value)


def test_a_baseline_must_be_on_the_same_images(trained: tuple[str, str, Path], report: Report, tmp_path: Path) -> None:
    model, data, weights = trained
    (tmp_path / "base.json").write_text(report.to_json())
    base = {"model": model, "data": data, "weights": str(weights), "mce_baseline": str(tmp_path / "base.json")}
    with pytest.raises(UsageError, match=r"has no result under brightness/1 and 2 more"):
        prepare(make_config({**base, "corruption": ["brightness"]}))
    with pytest.raises(UsageError, match=r"on 60 samples of .*, which are not the 30 of"):
        start(make_config({**base, "corruption": ["snow"], "limit": 30}), Silent())


def test_volumes_and_other_channels_are_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (6, 16, 16, 4), dtype=np.uint8)
    np.savez(tmp_path / "four.npz", images=images, labels=np.arange(6) % 3)
    (tmp_path / "four.py").write_text(
        "from torch import nn\ndef make(num_classes=3):\n"
        "    return nn.Sequential(nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))\n"
    )
    with pytest.raises(UsageError, match=r"fog is for gray or RGB images, not for inputs of 4×16×16; the noises take"):
        run(f"{tmp_path / 'four.py'}:make", f"npz:{tmp_path / 'four.npz'}", weights="none", corruption=["fog:1"])


def test_alexnets_errors_are_for_all_severities_of_full_size_images(tmp_path: Path) -> None:
    write_imagenetc(tmp_path / "C", ("weather/fog",), images=1, size=224)
    model = write_model(tmp_path)
    asked = {"model": model, "weights": "none", "attack": ["fgsm"], "mce_baseline": "alexnet"}
    plan = prepare(make_config({**asked, "data": f"imagenet-c:{tmp_path / 'C'},corruption=fog"}))
    assert plan.baselines["sample/running"].errors["fog"][3] == pytest.approx(0.819324)
    with pytest.raises(UsageError, match=r"means over severities 1 to 5, and fog is not evaluated at all of them"):
        prepare(make_config({**asked, "data": f"imagenet-c:{tmp_path / 'C'},corruption=fog,severity=3"}))


@pytest.mark.integration
def test_a_random_model_is_drawn_repeatedly_and_repeatably(tmp_path: Path) -> None:
    """Its accuracy under a common corruption is an expected one, from as many draws as on the clean images."""
    (tmp_path / "random.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Noisy(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.weight = nn.Parameter(torch.zeros(1))\n\n"
        "    def forward(self, x):\n        means = x.mean((2, 3))\n"
        "        return means + 0.05 * torch.randn(means.shape)\n\n\n"
        "def make(num_classes=3):\n    return Noisy()\n"
    )
    data = write_data(tmp_path, n=40, size=16)
    asked = {"weights": "none", "corruption": ["brightness:1+3"], "draws": 7}
    first, again = (run(f"{tmp_path / 'random.py'}:make", data, **asked).variants[0] for _ in range(2))
    assert [len(one.accuracies) for one in first.corruptions] == [7, 7]
    assert len(set(first.corruptions[0].accuracies)) > 1
    assert first.outcomes.corrupted_correct == again.outcomes.corrupted_correct
    assert first.common_corruptions is not None
    assert first.common_corruptions.corruptions["brightness"].accuracies == pytest.approx(
        [np.mean(one.accuracies) for one in first.corruptions]
    )


def test_a_mean_needs_all_its_cells(trained: tuple[str, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, weights = trained
    made = Attack.corrupted

    def failing(attack: Attack, *rest: object) -> torch.Tensor:
        if attack.label == "snow:severity=2":
            raise RuntimeError("no snow today")
        return made(attack, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Attack, "corrupted", failing)
    (variant,) = run(model, data, weights=str(weights), corruption=["snow:1+2"]).variants
    assert [one.status for one in variant.corruptions] == ["ok", "failed"]
    assert variant.common_corruptions is None


def test_the_baseline_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text("{}")
    path = str(tmp_path / "base.json")
    config = make_config({"model": "m", "mce_baseline": path, "output": path})
    with pytest.raises(UsageError, match=r"--output .*base\.json would overwrite the mCE baseline"):
        check_overwriting(config, None)


def test_resized_images_are_told_to_be_not_those_of_published_numbers(
    with_archive: tuple[str, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    data, _ = with_archive
    asked = {"model": write_model(tmp_path), "data": data, "weights": "none", "image_size": 64}
    (note,) = prepare(make_config({**asked, "corruption": ["fog"]})).samples.remarks
    assert re.fullmatch(PUBLISHED_NOTE, note)
    with pytest.raises(UsageError, match=r"contrast: CIFAR-10-C lacks it, and its other images are corrupted before"):
        prepare(make_config({**asked, "corruption": ["fog", "contrast"]}))
    shutil.rmtree(tmp_path / "CIFAR-10-C")
    (note,) = prepare(make_config({**asked, "corruption": ["fog"]})).samples.remarks
    assert "for 224×224 images; here they are 64×64, resized: published numbers do not apply (Pillow " in note
