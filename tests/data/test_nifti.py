"""NIfTI volumes arrive in canonical axes, fitted and in [0, 1]; whatever is wrong is said in one line."""

from __future__ import annotations

import csv
import gzip
import itertools
import re

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stein_bench.data import batches, open_data
from stein_bench.data.samples import Resize
from stein_bench.data.volumes import fit_shape
from stein_bench.errors import UsageError

RNG = np.random.default_rng(11)
SIDES = (6, 5, 4)
RAS = np.diag([2.0, 2.0, 3.0, 1.0])


def write(path, values, affine=RAS, header=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine, header), path)
    return path


def write_table(path, rows, header=("path", "label", "split", "site")):
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@pytest.fixture
def dataset(tmp_path):
    """A dozen volumes of two classes and two sites, eight to test on; every other file is compressed."""
    values = RNG.random((12, *SIDES), dtype=np.float32)
    rows = []
    for index, volume in enumerate(values):
        name = f"scans/{index:02d}.nii{'.gz' if index % 2 else ''}"
        write(tmp_path / name, volume)
        rows.append((name, index % 2, "train" if index < 4 else "test", "ABC"[index % 3]))
    return write_table(tmp_path / "table.csv", rows), values


def spec(table, shape=SIDES, more=""):
    return f"nifti:{table},shape={'x'.join(map(str, shape))}{more}"


def position(samples, name):
    return next(index for index, other in enumerate(samples.ids) if other == name)


def refusal(text, split="test"):
    with pytest.raises(UsageError) as caught:
        samples = open_data(text).samples(split)
        for _ in samples.surveyed():
            pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_volumes_labels_and_sites_are_those_of_the_table(dataset):
    table, values = dataset
    source = open_data(spec(table))
    samples = source.samples("test")
    assert (source.name, source.splits, source.classes, source.channels) == (
        "nifti:table.csv",
        ("train", "test"),
        ("0", "1"),
        1,
    )
    assert samples.shape == (1, *SIDES)
    assert sorted(samples.ids) == [f"scans/{index:02d}.nii{'.gz' if index % 2 else ''}" for index in range(4, 12)]
    for place, name in enumerate(samples.ids):
        index = int(name[6:8])
        volume, label = samples.batch([place])
        assert torch.equal(volume[0, 0], torch.from_numpy(values[index]))
        assert (int(label), samples.sites[place]) == (index % 2, "ABC"[index % 3])
    assert len(source.samples("train")) == 4


def test_a_limit_takes_sites_along_and_is_not_one_class(dataset):
    few = open_data(spec(dataset[0])).samples("test").first(5)
    assert len(few.sites) == len(few.ids) == len(few) == 5
    assert set(few.labels.tolist()) == {0, 1}


ORIENTATIONS = [
    (axes, flips) for axes in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_every_flip_and_permutation_of_axes_is_undone(tmp_path, axes, flips):
    """The stored array is permuted and flipped, the affine says so: both together are the same volume."""
    canonical = RNG.random(SIDES, dtype=np.float32)
    stored = canonical.transpose(axes)
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for stored_axis, world_axis in enumerate(axes):
        affine[world_axis, stored_axis] = RAS[world_axis, world_axis] * flips[stored_axis]
        if flips[stored_axis] < 0:
            stored = np.flip(stored, stored_axis)
            affine[world_axis, 3] = RAS[world_axis, world_axis] * (SIDES[world_axis] - 1)
    write(tmp_path / "a.nii.gz", stored, affine)
    write(tmp_path / "b.nii", canonical)
    table = write_table(tmp_path / "t.csv", [("a.nii.gz", 0, "test"), ("b.nii", 1, "test")], ("path", "label", "split"))
    samples = open_data(spec(table)).samples("test")
    turned, straight = samples.batch([position(samples, "a.nii.gz"), position(samples, "b.nii")])[0]
    assert torch.equal(turned, straight)
    assert samples.sites is None


def test_an_oblique_volume_is_turned_to_its_nearest_axes_and_not_interpolated(tmp_path):
    angle = np.radians(15)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, -2, 0], [2, 0, 0], [0, 0, 3]])  # first axis anterior, second left
    stored = RNG.random((5, 6, 4), dtype=np.float32)
    samples = open_data(spec(table_of(tmp_path, stored, stored, affine=affine))).samples("test")
    assert np.array_equal(samples.batch([0])[0][0, 0].numpy(), stored.transpose(1, 0, 2)[::-1])


def rotation(axis, degrees, voxels=(2.0, 2.0, 3.0)):
    """Return the affine of a volume of this voxel size that lies turned about a world axis."""
    angle = np.radians(degrees)
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    affine = np.eye(4)
    affine[[first, second], [first, second]] = np.cos(angle)
    affine[first, second], affine[second, first] = -np.sin(angle), np.sin(angle)
    return affine @ np.diag([*voxels, 1])


SHEAR = np.eye(4) + 0.2 * np.eye(4)[[1, 3, 3, 3]] * [[1], [0], [0], [0]]
AFFINES = [
    (rotation("z", 4), None),
    (rotation("x", 6), "2 volumes are oblique, by up to 6°: axes are reordered, nothing is resampled"),
    (rotation("y", -44), "2 volumes are oblique, by up to 44°: axes are reordered, nothing is resampled"),
    (RAS @ SHEAR, "2 volumes are oblique, by up to 11°: axes are reordered, nothing is resampled"),
    (RAS @ np.diag([-1, 1, 1, 1]), None),  # negative determinant
    (RAS @ np.diag([1e-30, 1e-30, 1e-30, 1]), None),  # tiny voxels
]


@pytest.mark.parametrize(("affine", "note"), AFFINES)
def test_odd_affines_flip_or_keep_axes_and_oblique_ones_are_said_so(tmp_path, affine, note):
    stored = RNG.random(SIDES, dtype=np.float32)
    samples = open_data(spec(table_of(tmp_path, stored, stored, affine=affine))).samples("test")
    expected = stored[::-1] if affine[0, 0] < 0 else stored
    assert np.array_equal(samples.batch([0])[0][0, 0].numpy(), expected)
    assert samples.notes() == ((note,) if note else ())
    if note:
        assert samples.first(1).notes() == (note.replace("2 volumes are", "1 volume is"),)


@pytest.mark.parametrize("suffix", ["mgz", "mgh"])
def test_freesurfer_files_are_the_same_volume(tmp_path, suffix):
    """Stored in FreeSurfer's usual axes: left, inferior, anterior."""
    canonical = RNG.random(SIDES, dtype=np.float32)
    affine = np.array([[-1.0, 0, 0, 5], [0, 0, 1, 0], [0, -1, 0, 3], [0, 0, 0, 1]])
    nibabel.save(nibabel.MGHImage(canonical.transpose(0, 2, 1)[::-1, ::-1].copy(), affine), tmp_path / f"0.{suffix}")
    write(tmp_path / "1.nii", canonical)
    rows = [(f"0.{suffix}", 0, "test"), ("1.nii", 1, "test")]
    samples = open_data(spec(write_table(tmp_path / "t.csv", rows, ("path", "label", "split")))).samples("test")
    for image in samples.batch([0, 1])[0]:
        assert torch.equal(image[0], torch.from_numpy(canonical))
    assert samples.notes() == ()


def test_a_volume_or_a_folder_of_dicom_instead_of_a_table_is_one_line(tmp_path):
    write(tmp_path / "0.nii", np.ones(SIDES))
    assert refusal(f"nifti:{tmp_path}/0.nii").endswith(
        "is a volume; list the volumes in a table: nifti:CSV, with path, label and split"
    )
    (tmp_path / "IM1").write_bytes(bytes(128) + b"DICM")
    assert f"{tmp_path}: is DICOM, convert the folder of the series" in refusal(f"nifti:{tmp_path}")


@pytest.mark.parametrize("shape", [(6, 5, 4), (4, 3, 2), (9, 8, 7), (3, 9, 4), (1, 1, 1)])
def test_a_volume_is_cropped_and_padded_centrally(shape):
    values = np.arange(1, 121).reshape(SIDES)
    fitted = fit_shape(values, shape)
    assert fitted.shape == shape
    for place in itertools.product(*map(range, shape)):
        source = [
            at - (want - have) // 2 if want > have else at + (have - want) // 2
            for at, want, have in zip(place, shape, SIDES, strict=True)
        ]
        inside = all(0 <= at < have for at, have in zip(source, SIDES, strict=True))
        assert fitted[place] == (values[tuple(source)] if inside else 0)


@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
@settings(max_examples=50, deadline=None)
def test_padding_is_undone_by_cropping(small, more):
    values = RNG.random(small)
    larger = tuple(a + b for a, b in zip(small, more, strict=True))
    assert np.array_equal(fit_shape(fit_shape(values, larger), small), values)


def table_of(tmp_path, *volumes, affine=RAS):
    rows = []
    for index, volume in enumerate(volumes):
        write(tmp_path / f"{index}.nii", volume, affine)
        rows.append((f"{index}.nii", index, "test"))
    return write_table(tmp_path / "t.csv", rows, ("path", "label", "split"))


def test_a_range_is_scaled_linearly_and_what_is_clipped_is_counted(tmp_path):
    values = np.full(SIDES, 100, np.int16)
    values[0, 0, :] = [-50, 0, 200, 300]
    table = table_of(tmp_path, values, np.full(SIDES, 50, np.int16))
    samples = open_data(spec(table, more=",scaling=0:200")).samples("test")
    loaded = samples.batch([position(samples, "0.nii")])[0][0, 0]
    assert loaded[0, 0].tolist() == [0, 0, 1, 1]
    assert loaded[1, 1, 1] == 0.5
    record = samples.scaling()
    assert (record.method, record.low, record.high) == ("range", 0, 200)
    assert (record.clipped_values, record.clipped_samples) == (2, 1)


def test_minmax_is_each_volumes_own_and_a_constant_is_zero(tmp_path):
    values = RNG.normal(size=SIDES).astype(np.float32)
    samples = open_data(spec(table_of(tmp_path, values, np.full(SIDES, 7.0)), more=",scaling=minmax")).samples("test")
    scaled = samples.batch([position(samples, "0.nii")])[0][0, 0].numpy()
    assert np.allclose(scaled, (values - values.min()) / (values.max() - values.min()), atol=1e-6)
    assert samples.batch([position(samples, "1.nii")])[0].abs().sum() == 0
    assert samples.scaling().clipped_values == 0


def test_without_scaling_rounding_is_forgiven_and_anything_more_is_not(tmp_path):
    values = np.full(SIDES, 0.5)
    values[0, 0, 0] = 1 + 5e-7
    samples = open_data(spec(table_of(tmp_path, values, values))).samples("test")
    assert samples.batch([0])[0].max() == 1
    values[0, 0, 0] = 1.01
    message = refusal(spec(table_of(tmp_path, values, values)))
    assert re.search(r"\.nii: has values from 0\.5 to 1\.01, outside \[0, 1\]; add scaling=LOW:HIGH ", message)


def test_stored_slopes_count(tmp_path):
    """Scaled integers are what the header's slope and intercept make of them."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_slope_inter(0.25, 0.1)
    image = nibabel.Nifti1Image(np.full(SIDES, 0.6), RAS, header)
    nibabel.save(image, tmp_path / "0.nii")
    nibabel.save(image, tmp_path / "1.nii")
    table = write_table(tmp_path / "t.csv", [("0.nii", 0, "test"), ("1.nii", 1, "test")], ("path", "label", "split"))
    assert open_data(spec(table)).samples("test").batch([0])[0].numpy() == pytest.approx(0.6)


def test_a_fourth_axis_of_one_is_a_volume_and_of_two_is_not(tmp_path):
    table = table_of(tmp_path, RNG.random((*SIDES, 1)), RNG.random((*SIDES, 1)))
    assert open_data(spec(table)).samples("test").batch([0])[0].shape == (1, 1, *SIDES)
    table = table_of(tmp_path, RNG.random((*SIDES, 2)), RNG.random((*SIDES, 2)))
    assert re.search(
        r"\.nii: is 6×5×4×2, a series of 2 volumes; one 3-D volume is needed: split it with FSL's `fslsplit` or "
        r"`nibabel\.four_to_three`, and name one file in each row$",
        refusal(spec(table)),
    )


def test_volumes_are_read_batch_by_batch(dataset, monkeypatch):
    """No more volumes are in memory than a batch holds: each is read when its batch is asked for."""
    from stein_bench.data import nifti

    read, original = [], nifti.read_volume
    monkeypatch.setattr(nifti, "read_volume", lambda path, *rest: read.append(path) or original(path, *rest))
    samples = open_data(spec(dataset[0])).samples("test")
    assert read == []
    stream = batches(samples, 3)
    next(stream)
    assert len(read) == 3
    next(stream)
    assert len(read) == 6


def test_the_hash_is_that_of_the_values_not_of_the_files(tmp_path, dataset):
    table, values = dataset
    samples = open_data(spec(table)).samples("test")
    assert samples.sha256() == open_data(spec(table)).samples("test").sha256()
    assert samples.sha256() != samples.first(7).sha256()
    assert samples.sha256() != open_data(spec(table, more=",scaling=0:2")).samples("test").sha256()
    write(tmp_path / "scans/04.nii", values[4][::-1], RAS @ np.diag([-1, 1, 1, 1]))  # the same, stored flipped
    assert samples.sha256() == open_data(spec(table)).samples("test").sha256()
    write(tmp_path / "scans/04.nii", values[4] * 0.5)
    assert samples.sha256() != open_data(spec(table)).samples("test").sha256()


def test_the_default_shape_is_the_papers(dataset):
    samples = open_data(f"nifti:{dataset[0]}").samples("test")
    assert samples.shape == (1, 128, 128, 64)
    volume = samples.batch([0])[0][0, 0]
    assert volume.count_nonzero() == volume[61:67, 61:66, 30:34].count_nonzero() == 120


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (",shap=1x1x1", r"^unknown option of nifti 'shap'\. Did you mean 'shape'\?$"),
        (",shape=8x8", r": shape=8x8; write three whole numbers, e\.g\. shape=128x128x64$"),
        (",shape=0x8x8", r": shape=0x8x8; write three whole numbers"),
        (",shape", r": 'shape' is not of the form option=value, e\.g\. shape=128x128x64$"),
        (",shape=8x8x8,shape=8x8x8", r" gives 'shape' twice$"),
        (",scaling=maxmin", r": scaling=maxmin; write none, minmax or LOW:HIGH, e\.g\. 0:1$"),
        (",scaling=1:1", r": scaling=1:1; LOW must be below HIGH, both finite, e\.g\. 0:1$"),
        (",scaling=0:inf", r": scaling=0:inf; LOW must be below HIGH"),
    ],
)
def test_a_wrong_option_is_one_line(dataset, more, message):
    assert re.search(message, refusal(f"nifti:{dataset[0]}{more}"))


def test_a_path_may_hold_commas(tmp_path):
    folder = tmp_path / "a,b=c,d"
    folder.mkdir()
    table = table_of(folder, np.zeros(SIDES), np.ones(SIDES))
    assert len(open_data(spec(table)).samples("test")) == 2


BROKEN_TABLES = [
    ("path,label,split\n", r"t\.csv: no row has the split test; there is nothing to evaluate$"),
    ("", r"t\.csv: lacks the column 'path'; it holds nothing\.$"),
    ("file,label,split\n", r"t\.csv: lacks the column 'path'; it holds file, label, split\.$"),
    (
        "path,labels,split\n",
        r"lacks the column 'label'; it holds path, labels, split\. Did you mean 'labels' for it\?$",
    ),
    ("path,label,label,split\n", r"t\.csv: has the column 'label' twice$"),
    (
        "path,label,split\na.nii,x,test\n",
        r"t\.csv, line 2: label 'x' is not a whole number; write class indices from 0$",
    ),
    ("path,label,split\na.nii,1.0,test\n", r"line 2: label '1\.0' is not a whole number"),
    ("path,label,split\na.nii,-1,test\n", r"line 2: label -1 is not a class index \(0 to 99999\)$"),
    ("path,label,split\na.nii,0,tset\n", r"line 2: split 'tset' is neither train nor test$"),
    ("path,label,split\na.nii,0\n", r"line 2: has 2 cells, but the header has 3 columns$"),
    ("path,label,split\n,0,test\n", r"line 2: path is empty$"),
    ("path,label,split,site\na.nii,0,test,\n", r"line 2: site is empty$"),
    ("path,label,split\na.nii,0,test\nb.nii,1,test\n\nc.nii,1,test\n", r"line 5: no such file: .*c\.nii$"),
    (
        "path,label,split\na.nii,0,test\n./a.nii,1,test\n",
        r"lines 2 and 3 name the same file, \./a\.nii; name each once$",
    ),
    ("path,label,split\na.nii,0,test\na.nii,0,train\n", r"; a model must not train on its test data$"),
    (
        "path,label,split\na.nii,1,test\nb.nii,2,test\n",
        r"no row has the label 0, the smallest is 1; number classes from 0$",
    ),
    ("path,label,split\na.nii,0,train\nb.nii,1,train\n", r"no row has the split test"),
    ("path,label,split\na.nii,0,test\n", r"has only one class"),
]


@pytest.mark.parametrize(("text", "message"), BROKEN_TABLES)
def test_a_wrong_table_is_one_line(tmp_path, text, message):
    write(tmp_path / "a.nii", np.zeros(SIDES))
    write(tmp_path / "b.nii", np.ones(SIDES))
    (tmp_path / "t.csv").write_text(text)
    assert re.search(message, refusal(spec(tmp_path / "t.csv")))


def test_a_table_that_is_none_is_one_line(tmp_path):
    assert re.search(r"x\.csv: no such file; write nifti:CSV$", refusal(f"nifti:{tmp_path}/x.csv"))
    assert refusal(f"nifti:{tmp_path}").endswith("is not a file; write nifti:CSV")
    (tmp_path / "t.csv").write_bytes(b"path,label\xff\n")
    assert "not a readable CSV file in UTF-8" in refusal(f"nifti:{tmp_path}/t.csv")
    assert refusal("nifti:").startswith("nifti needs a table: nifti:CSV, ")


def test_headers_may_be_spread_and_capital_and_begin_with_a_mark(tmp_path):
    write(tmp_path / "a.nii", np.zeros(SIDES))
    write(tmp_path / "b.nii", np.ones(SIDES))
    (tmp_path / "t.csv").write_text("\ufeffSubject, Path ,Label,Split\n1,a.nii,0,Test\n2,b.nii, 1 ,test\n", "utf-8")
    assert len(open_data(spec(tmp_path / "t.csv")).samples("test")) == 2


def broken_file(folder, kind):
    """Write 0.nii.gz or another file of that name, broken in the way that `kind` says."""
    path = folder / "0.nii.gz"
    good = np.full(SIDES, 0.5, np.float32)
    if kind == "garbage":
        path.write_bytes(b"no image at all")
    elif kind == "cut":
        write(path, RNG.random((20, 20, 20)))
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "nan":
        good[0, 0, :2] = np.nan
        write(path, good)
    elif kind == "no orientation":
        write(path, good, None)
    elif kind == "singular":
        stored = bytearray(gzip.decompress(write(path, good).read_bytes()))
        stored[280:328] = bytes(48)  # srow_x, srow_y, srow_z
        path.write_bytes(gzip.compress(stored))
    elif kind == "colors":
        write(path, np.zeros(SIDES, [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    elif kind == "complex":
        write(path, good.astype(np.complex64))
    elif kind == "plane":
        write(path, good[:, :, 0])
    elif kind == "vectors":
        write(path, np.zeros((*SIDES, 1, 3), np.float32))
    elif kind == "midway":
        path = write(folder / "0.nii", good, rotation("z", 45))
    elif kind == "another kind":
        path = folder / "0.nii"
        nibabel.save(nibabel.Spm99AnalyzeImage(good, RAS), folder / "0.img")
        (folder / "0.img").rename(folder / "0.ima.txt")
        path = folder / "0.ima.txt"
    elif kind == "MGH without orientation":
        path = folder / "0.mgz"
        nibabel.save(nibabel.MGHImage(good, RAS), path)
        stored = bytearray(gzip.decompress(path.read_bytes()))
        stored[28:30] = bytes(2)  # goodRASFlag
        path.write_bytes(gzip.compress(stored))
    elif kind == "cut MGH":
        path = folder / "0.mgz"
        nibabel.save(nibabel.MGHImage(RNG.random((20, 20, 20), dtype=np.float32), RAS), path)
        path.write_bytes(path.read_bytes()[:9000])
    elif kind == "DICOM":
        path = folder / "IM0001"
        path.write_bytes(bytes(128) + b"DICM" + bytes(64))
    elif kind == "DICOM folder":
        path = folder / "series"
        path.mkdir()
        (path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(64))
    elif kind.startswith("."):
        path = folder / f"0{kind}"
        path.write_bytes(b"some format")
    return path


BROKEN_FILES = [
    ("garbage", r"0\.nii\.gz: not a readable NIfTI file \("),
    ("cut", r"0\.nii\.gz: not a readable NIfTI file \("),
    ("nan", r"0\.nii\.gz: 2 values are not finite; replace them, e\.g\. by 0$"),
    ("no orientation", r"0\.nii\.gz: has no orientation \(sform and qform are unset or singular\)"),
    ("singular", r"0\.nii\.gz: has no orientation"),
    ("colors", r"0\.nii\.gz: holds values of type .*; real numbers are needed$"),
    ("complex", r"0\.nii\.gz: holds values of type complex64; real numbers are needed$"),
    ("plane", r"0\.nii\.gz: is 6×5; one 3-D volume is needed$"),
    ("vectors", r"0\.nii\.gz: is 6×5×4×1×3; one 3-D volume is needed$"),
    ("midway", r"0\.nii: its axes lie midway between right, anterior and superior and cannot be assigned; resample it"),
    ("another kind", r"0\.ima\.txt: is not named as a NIfTI file; \.nii, \.nii\.gz, \.mgz or \.mgh is needed$"),
    (
        "MGH without orientation",
        r"0\.mgz: has no orientation \(goodRASFlag is unset or singular\); set one, since left",
    ),
    ("cut MGH", r"0\.mgz: not a readable MGH file \("),
    ("DICOM", r"IM0001: is DICOM, convert the folder of the series, e\.g\. with `dcm2niix -z y FOLDER`"),
    ("DICOM folder", r"series: is DICOM, convert the folder of the series"),
    (".dcm", r"0\.dcm: is DICOM, convert"),
    (".hdr", r"0\.hdr: is one half of an Analyze or NIfTI pair, convert it to one file"),
    (".img", r"0\.img: is one half of an Analyze or NIfTI pair, convert it to one file"),
    (".nrrd", r"0\.nrrd: is NRRD, convert it to \.nii\.gz, e\.g\. with 3D Slicer or SimpleITK$"),
    (".mnc", r"0\.mnc: is MINC, convert it, e\.g\. with `mnc2nii FILE\.mnc FILE\.nii`$"),
]


@pytest.mark.parametrize(("kind", "message"), BROKEN_FILES)
def test_a_wrong_file_is_one_line(tmp_path, kind, message):
    path = broken_file(tmp_path, kind)
    write(tmp_path / "1.nii", np.ones(SIDES))
    table = write_table(tmp_path / "t.csv", [(path.name, 0, "test"), ("1.nii", 1, "test")], ("path", "label", "split"))
    assert re.search(message, refusal(spec(table)))


def test_volumes_are_not_resized(dataset):
    with pytest.raises(UsageError, match="volumes are not resized but cropped and padded"):
        open_data(spec(dataset[0])).samples("test", Resize(32))
