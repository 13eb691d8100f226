"""A user's own code as data: whatever it returns gives its samples exactly, or one line that says what to change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stein_bench.config import RunConfig
from stein_bench.data import Resize, open_data
from stein_bench.data.samples import batches
from stein_bench.errors import UsageError
from stein_bench.evaluation.run import run_evaluation
from tests.data.known import LABELS, as_inputs, check_known, clean_accuracy, known_images, opened, plain_accuracy
from tests.tiny import write_model

HEAD = """
import numpy as np, torch, random
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from tests.data.known import LABELS, as_inputs, known_images
pixels, inputs, labels = known_images(), as_inputs(known_images()), torch.from_numpy(LABELS)

class Own(Dataset):
    def __init__(self, change=lambda image: image, images=inputs, labels=labels.tolist()):
        self.change, self.images, self.labels_ = change, images, labels
    def __len__(self):
        return len(self.images)
    def __getitem__(self, index):
        return self.change(self.images[index]), self.labels_[index]

class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(inputs, labels))
"""


def code(folder: Path, body: str) -> str:
    """Write a file with the function `make`, whose body this is, and return its data spec."""
    lines = body if body.startswith(("def", "class", "make")) else f"def make():\n    return {body}\n"
    (folder / "mydata.py").write_text(HEAD + lines)
    return f"{folder / 'mydata.py'}:make"


FORMS = {
    "float tensors and whole numbers": "Own()",
    "8-bit tensors": "Own(lambda image: (image * 255).round().to(torch.uint8))",
    "tensors in double precision": "Own(lambda image: image.double())",
    "Pillow images": "Own(lambda image: Image.fromarray(image), pixels)",
    "NumPy arrays": "Own(images=pixels)",
    "NumPy arrays of floats": "Own(lambda image: image.astype(np.float32) / 255, pixels)",
    "labels as tensors": "Own(labels=labels)",
    "labels as arrays of one": "Own(labels=LABELS[:, None])",  # MedMNIST
    "dictionaries": "[{'image': image, 'label': label} for image, label in zip(inputs, LABELS)]",
    "dictionaries of transformers": "[{'pixel_values': i, 'labels': label} for i, label in zip(inputs, labels)]",
    "TensorDataset": "TensorDataset(inputs, labels)",
    "Subset": "Subset(TensorDataset(inputs, labels), list(range(24))[::-1])",
    "ConcatDataset": "ConcatDataset([Subset(Own(), range(10)), Subset(TensorDataset(inputs, labels), range(10, 24))])",
    "a list of a stream": "list(Stream())",
    "a DataLoader": "DataLoader(TensorDataset(inputs, labels), batch_size=5)",
    "two tensors": "inputs, labels",
    "two arrays": "pixels, LABELS",
    "a list of images": "[Image.fromarray(image) for image in pixels], LABELS.tolist()",
    "a dictionary of arrays": "{'images': pixels, 'labels': LABELS}",
    "both splits": "{'train': Own(), 'test': (pixels, LABELS)}",
    "an argument `split`": "def make(split): return {'test': Own(), 'train': None}[split]",
    "an argument `train`": "def make(train=True): return None if train else Own()",
    "a data set instead of a callable": "make = Own()",
    "a class": "class make(Own): pass",
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_known_samples(tmp_path, form):
    check_known(code(tmp_path, FORMS[form]))


def test_the_order_is_that_of_the_data_set_and_ids_do_not_depend_on_the_limit(tmp_path):
    samples = opened(code(tmp_path, "Subset(Own(), [7, 3, 5])"))
    images, labels = samples.batch([0, 1, 2])
    assert torch.equal(images, as_inputs(known_images())[[7, 3, 5]])
    assert labels.tolist() == LABELS[[7, 3, 5]].tolist()
    assert samples.first(2).ids == samples.ids[:2] == ("make/test/0000", "make/test/0001")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["Pillow images", "two tensors", "an argument `split`"])
def test_the_clean_accuracy_is_that_of_plain_pytorch(tmp_path, form):
    assert clean_accuracy(code(tmp_path, FORMS[form]), tmp_path) == plain_accuracy(tmp_path)


def test_the_same_values_have_the_same_hash_whatever_their_type(tmp_path):
    forms = ("float tensors and whole numbers", "Pillow images", "two arrays", "8-bit tensors")
    found = set()
    for form in forms:
        (tmp_path / form).mkdir()
        found.add(opened(code(tmp_path / form, FORMS[form])).sha256())
    assert len(found) == 1
    (tmp_path / "other").mkdir()
    changed = opened(code(tmp_path / "other", "Own(lambda image: 1 - image)"))
    assert changed.sha256() not in found


NAMED = {
    "torchvision's": ("d = Own(); d.classes = ['a', 'b', 'c', 'd']; return d", ("a", "b", "c", "d")),
    "of a subset": ("d = Own(); d.classes = ['a', 'b', 'c']; return Subset(d, [0, 1])", ("a", "b", "c")),
    "ImageNet's": ("d = Own(); d.classes = [('a', 'b'), ('a',), ('c',)]; return d", ("a, b", "a", "c")),
    "none": ("return Own()", ("0", "1", "2")),
}  # fmt: skip


@pytest.mark.parametrize("names", NAMED)
def test_class_names(tmp_path, names):
    body, expected = NAMED[names]
    assert open_data(code(tmp_path, f"def make():\n    {body}")).classes == expected


@pytest.mark.parametrize("transform", ["None", "ToTensor()"])
def test_data_sets_of_torchvision(tmp_path, transform):
    """FakeData has their interface: Pillow images, or what the transform makes of them."""
    from torchvision.datasets import FakeData
    from torchvision.transforms.functional import pil_to_tensor

    spec = code(
        tmp_path,
        "def make():\n    from torchvision.datasets import FakeData\n    from torchvision.transforms import ToTensor\n"
        f"    return FakeData(9, (3, 8, 8), 10, {transform})",
    )
    plain = FakeData(9, (3, 8, 8), 10)
    samples = opened(spec)
    images, labels = samples.batch(range(9))
    assert torch.equal(images, torch.stack([pil_to_tensor(plain[i][0]).float().div(255) for i in range(9)]))
    assert labels.tolist() == [int(plain[i][1]) for i in range(9)]
    assert "reading every sample" in samples.notes()[0]


def test_a_module_in_the_current_folder_and_one_that_is_installed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code(tmp_path, "def make(count): return Subset(Own(), range(count))")
    assert len(opened("mydata:make,count=24")) == 24
    monkeypatch.delitem(__import__("sys").modules, "mydata")
    assert len(opened("torchvision.datasets:FakeData,size=4,num_classes=2")) == 4


def test_a_split_that_is_given_is_the_evaluated_one_and_a_note_says_so(tmp_path):
    spec = code(tmp_path, "def make(split): return Subset(Own(), range({'val': 5, 'test': 6}[split]))")
    source = open_data(f"{spec},split=val")
    assert source.splits == ("test",)
    assert len(source.samples("test")) == 5
    assert "the evaluated split is the one given as split=val" in source.samples("test").notes()
    assert open_data(spec).splits == ("train", "test")
    assert source.name == "mydata.py:make,split=val"


def test_another_name_for_the_test_split_is_noted(tmp_path):
    samples = opened(code(tmp_path, "{'train': Own(), 'val': Own()}"))
    assert "mydata.py:make returned no split 'test': 'val' is evaluated" in samples.notes()


def test_a_data_loader_is_noted(tmp_path):
    [note] = opened(code(tmp_path, FORMS["a DataLoader"])).notes()
    assert "returned a DataLoader: its data set is read in its own order" in note


def test_labels_that_are_sorted_are_noted(tmp_path):
    order = "sorted(range(24), key=lambda i: i % 3)"
    samples = opened(code(tmp_path, f"Subset(TensorDataset(inputs, labels), {order})"))
    assert samples.first(9).notes() == (
        "the data set's own order is kept, and it is sorted by class: the first 9 samples are from 2 of 3 classes",
    )
    assert "--limit would take the first classes only" in samples.notes()[0]


SHAPE = "3×8×8"
NORMALIZE = "leave out Normalize: mean and std are the model's first layer, see --mean and --std"
REFUSED = {
    "normalized": ("Own(lambda x: (x - 0.5) / 0.2)", f"outside [0, 1]; {NORMALIZE}"),
    "normalized, all positive": ("Own(lambda x: x / 0.2)", NORMALIZE),
    "not divided by 255": ("Own(lambda x: x * 255)", "outside [0, 1]; divide by 255, or return uint8"),
    "not finite": ("Own(lambda x: x / 0 * 0)", "values that are not finite"),
    "random flips": (
        "Own(lambda x: x.flip(2) if random.random() < 0.5 else x)",
        "samples change from one reading to the next; remove random augmentation",
    ),
    "random noise": ("Own(lambda x: (x + torch.rand(1) / 9).clamp(0, 1))", "remove random augmentation"),
    "whole numbers": ("Own(lambda x: (x * 255).long())", "an image of int64; return uint8 from 0 to 255, or float"),
    "channels last": ("Own(lambda x: x.movedim(0, -1))", "tensor of shape 8×8×3, channels last; return image.movedim"),
    "channels first": ("Own(lambda x: x.numpy())", f"array of shape {SHAPE}, channels first; return it as a tensor"),
    "flat": ("Own(lambda x: x.flatten())", "tensor of shape 192; (C, H, W) or (C, D, H, W) is needed"),
    "a palette": ("Own(lambda x: Image.fromarray(x).convert('P'), pixels)", 'mode P; return image.convert("RGB")'),
    "a path": ("Own(lambda x: 'a.png')", "an image of type str; return a tensor (C, H, W), a Pillow image"),
    "three parts": ("[(image, 1, 'id') for image in inputs]", "is a tuple of 3; return a pair (image, label)"),
    "image only": ("[image for image in inputs]", "0 of {spec} (test) is a Tensor; return a pair (image, label)"),
    "other keys": ("[{'images_': i, 'label': 0} for i in inputs]", "without 'image': it holds images_, label. Did you"),
    "class names": ("Own(labels=['cat'] * 24)", "the label 'cat'; return its class index, and the names as `classes`"),
    "one-hot labels": ("Own(labels=torch.eye(3)[labels])", "a label of shape 3; one-hot: return label.argmax()"),
    "label maps": ("Own(labels=torch.ones(24, 8, 8).long())", "label of shape 8×8; one class index is needed"),
    "float labels": ("Own(labels=labels.float())", "a label of type float32; return its class index as a whole number"),
    "negative labels": ("inputs, labels - 1", "({split}) has the label -1; class indices from 0"),
    "label beyond classes": (
        "def make():\n    d = Own(); d.classes = ['a', 'b']\n    return d",
        "has the label 2, but its `classes` are only 2 names",
    ),
    "one class": ("inputs, labels * 0", "has only one class"),
    "a stream": ("Stream()", "an IterableDataset, which has no order to come back to; return list(dataset)"),
    "shuffled": ("DataLoader(Own(), shuffle=True)", "a DataLoader that shuffles, selects or changes samples"),
    "mixed up": ("DataLoader(Own(), collate_fn=list)", "a DataLoader that shuffles, selects or changes samples"),
    "two data sets": ("Own(), Own()", 'several data sets; return {{"train": …, "test": …}}'),
    "nothing": ("None", "returned a NoneType; return a map-style data set"),
    "an error of its length": (
        "def make():\n    d = Own(); d.images = None\n    return d",
        "reading the length of {spec} (test) failed: TypeError: object of type 'NoneType' has no len() ({file}",
    ),
    "no samples": ("Subset(Own(), [])", "returned no samples (test)"),
    "other counts": ("inputs, labels[:5]", "returned 24 images and 5 labels"),
    "training only": ("{'train': Own()}", "returned the splits train; 'test' is needed"),
    "images only": ("{'images': inputs}", 'a dictionary with images; "images" and "labels" are needed'),
    "a model": ("make = torch.nn.Linear(2, 2)", "is a network; name a function or class that returns data"),
    "its error": (
        "def make():\n    raise OSError('no disk')",
        "calling {spec} failed: OSError: no disk ({file}, line 20)",
    ),
    "an error of a sample": (
        "def make():\n    return Own(lambda x: x.missing)",
        "reading sample 0 of {spec} (test) failed: AttributeError: 'Tensor' object has no attribute 'missing' "
        "({file}, line 20)",
    ),
    "sizes": (
        "Own(lambda x: x if x is inputs[0] or x[0, 0, 0] < inputs[3, 0, 0, 0] else x[:, :6])",
        "give --image-size, or resize in the data set",
    ),
    "gray among color": (
        "[(Image.fromarray(p).convert('L' if i == 5 else 'RGB'), i % 3) for i, p in enumerate(pixels)]",
        'sample 5 of {spec} (test) is 1×8×8, and the first 3×8×8; all need the same channels, e.g. by image.convert',
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_wrong_is_said_in_one_line(tmp_path, what):
    body, message = REFUSED[what]
    spec = code(tmp_path, body)
    with pytest.raises(UsageError) as caught:
        for _ in open_data(spec).samples("test").surveyed():
            pass
    file = tmp_path / "mydata.py"
    assert message.format(spec=spec, file=file, split="test") in str(caught.value)
    assert "\n" not in str(caught.value)


SPECS = [
    ("nothing.py:make", r"no such file: nothing\.py"),
    ("mydata.py", r"names a file only: write mydata\.py:CALLABLE"),
    ("mydata.py:", r"'' is no name of a callable"),
    ("torchvision.datasets:CIFAR11,root=x", r"torchvision\.datasets has no 'CIFAR11'\. Did you mean 'CIFAR10' or"),
    ("mydata.py:mke", r"mydata\.py has no 'mke'\. Did you mean 'make'\?"),
    ("mydata.py:make,cuont=3", r"mydata\.py:make has no argument 'cuont'\. Did you mean 'count'\?"),
    ("mydata.py:required", r"^mydata\.py:required needs 'path': write mydata\.py:required,path=VALUE$"),
    ("mydata.py:make,3", r"'3' is not of the form key=value"),
    ("missing_module.sub:make", r"no module 'missing_module\.sub'"),
]


@pytest.mark.parametrize(("spec", "message"), SPECS)
def test_specs_that_are_refused(tmp_path, monkeypatch, spec, message):
    monkeypatch.chdir(tmp_path)
    code(tmp_path, "def make(count=3): return Own()\ndef required(path): return Own()")
    with pytest.raises(UsageError, match=message):
        open_data(spec)


def test_targets_that_the_samples_do_not_have_are_not_used(tmp_path):
    """A target_transform changes labels of samples, but not the list."""
    spec = code(
        tmp_path, "def make():\n    d = Own(labels=[2 - int(y) for y in labels])\n    d.targets = labels\n    return d"
    )
    samples = opened(spec)
    assert samples.labels.tolist() == (2 - LABELS).tolist()
    assert "reading every sample" in samples.notes()[0]
    one_class = "d = Own(labels=labels % 2); d.targets = labels"  # only 2 becomes 0, not in samples 0, 10, 19
    changed = opened(code(tmp_path, f"def make():\n    {one_class}\n    return Subset(d, range(20))"))
    assert changed.labels.tolist() == (LABELS % 2)[:20].tolist()
    partly = "d = Own(); d.targets = [*labels[:5].tolist(), 0, *labels[6:].tolist()]"  # sample 5 has 2
    with pytest.raises(UsageError, match="has the label 2, and had 0 when labels were listed"):
        list(opened(code(tmp_path, f"def make():\n    {partly}\n    return d")).surveyed())


def test_a_sample_that_changes_after_it_was_checked_is_refused_when_it_is_used(tmp_path):
    spec = code(
        tmp_path,
        "class make(Own):\n    targets = list(LABELS) * 3\n    def __len__(self): return 72\n"
        "    def __getitem__(self, i): return inputs[i % 24] * (random.random() if i > 65 else 1), LABELS[i % 24]\n",
    )
    samples = opened(spec)
    list(samples.surveyed())
    assert torch.equal(samples.batch([3])[0], as_inputs(known_images())[[3]])
    with pytest.raises(UsageError, match=r"sample 68 of .* changes: samples change from one reading to the next"):
        samples.batch([68])


def test_samples_of_several_sizes_are_resized(tmp_path):
    spec = code(tmp_path, "[(Image.fromarray(p[: 6 + i % 3]), i % 3) for i, p in enumerate(pixels)]")
    source = open_data(spec)
    assert not source.uniform
    with pytest.raises(UsageError, match=r"differ in size .*give --image-size"):
        source.samples("test")
    resized = source.samples("test", Resize(6))
    assert resized.batch(range(24))[0].shape == (24, 3, 6, 6)
    assert resized.sha256() != source.samples("test", Resize(5)).sha256()
    tensors = opened(code(tmp_path, "inputs, labels"))
    assert torch.equal(
        open_data(code(tmp_path, "inputs, labels")).samples("test", Resize(8)).batch(range(24))[0],
        tensors.batch(range(24))[0],
    )


SENT = {
    "an own class": "class make(Own):\n    def __init__(self): super().__init__(change=abs)",
    "a lambda, which cannot be pickled": "Own(lambda image: image * 1.0)",
    "tensors": "inputs, labels",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", SENT)
def test_processes_read_the_same(tmp_path, what):
    samples = opened(code(tmp_path, SENT[what]))
    samples.sha256()
    here, there = (list(batches(samples, 9, workers=workers)) for workers in (0, 2))
    for expected, found in zip(here, there, strict=True):
        assert torch.equal(expected[1], found[1])
        assert torch.equal(expected[2], found[2])


@pytest.mark.slow
def test_a_whole_run_with_training(tmp_path):
    spec = code(tmp_path, "def make(split): return (inputs, labels) if split == 'test' else Own()")
    config = RunConfig(
        model=write_model(tmp_path), data=spec, weights="fit", attack=("noise-gaussian:std=0.1,seeds=1",)
    )
    report = run_evaluation(config)
    assert report.data.samples == 24
    assert report.data.name == "mydata.py:make"
    assert report.data.sha256 == opened(spec).sha256()
