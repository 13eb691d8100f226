"""The page, the figures and the files of a report: complete, escaped, repeatable, and without a network."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import subprocess
import sys
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from stein_bench.errors import UsageError
from stein_bench.render import figures
from stein_bench.render.report.gallery import overlaid, pixels, shots
from stein_bench.render.report.outcomes import curves, measure
from stein_bench.report.adversarials import Gallery
from stein_bench.report.results import Figure
from tests.render.page_reports import attack, bits, doubtful, example, replaced, report, variant
from tests.render.parsed import Page, contrast


def masked(text):
    """The page without what depends on versions of matplotlib and Pillow: the figures' inside and the pictures."""
    text = re.sub(r"<svg\b.*?</svg>", "<svg/>", text, flags=re.DOTALL)
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,*", text)


def test_the_page_is_the_stored_one(whole, save, invoke, is_golden, tmp_path):
    path = save(whole, examples=[example(index=i) for i in range(2)])
    assert invoke("report", path, "--html", tmp_path / "r.html").exit_code == 0
    # The headers that Python writes into an .npz file, and so its hash, differ between patch releases.
    (examples,) = tmp_path.glob("*.npz")
    written = hashlib.sha256(examples.read_bytes()).hexdigest()
    page = masked((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.count(written) == 1
    is_golden(page.replace(written, "e" * 64), "report.html")


@pytest.mark.parametrize(
    ("option", "name"), [("--markdown", "report.md"), ("--csv", "report.csv"), ("--junit", "report.xml")]
)
def test_the_other_formats_are_the_stored_ones(whole, save, invoke, is_golden, tmp_path, option, name):
    assert invoke("report", save(whole), option, tmp_path / name).exit_code == 0
    is_golden((tmp_path / name).read_text(encoding="utf-8"), name)


@pytest.mark.integration
def test_several_files_at_once_and_twice_the_same(whole, save, invoke, tmp_path):
    path = save(whole, examples=[example()])
    outputs = []
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        files = [tmp_path / run / name for name in ("r.html", "c.svg", "g.svg", "b.png")]
        plots = ["--plot", "curve", files[1], "--plot", f"gallery={files[2]}", "--plot", "bars", files[3]]
        assert invoke("report", path, "--html", files[0], *plots).exit_code == 0
        outputs.append([file.read_bytes() for file in files])
    assert outputs[0] == outputs[1]
    assert b"<dc:date>" not in b"".join(outputs[0])
    assert Image.open(io.BytesIO(outputs[0][3])).size[0] == 960


@pytest.mark.integration
def test_nothing_is_loaded_from_anywhere(whole, save, invoke, tmp_path):
    path = save(whole, examples=[example()])
    invoke("report", path, path, "--html", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.named("script") == [{}]
    for _, attrs in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            assert attrs.get(name, "#").startswith(("#", "data:")), attrs
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    assert "@import" not in text


def test_the_page_is_whole_and_can_be_read_aloud(whole, save, invoke, tmp_path):
    path = save(whole, examples=[example()])
    invoke("report", path, "--html", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [attrs["lang"] for attrs in page.named("html")] == ["en"]
    assert all(attrs["alt"] for attrs in page.named("img"))
    images = [attrs for attrs in page.named("div") if attrs.get("role") == "img"]
    assert len(images) == len(page.named("svg")) == 4
    assert any(
        "sample/running: 95.0 % at 0, 85.0 % at 2/255, 50.0 % at 8/255" in attrs["aria-label"] for attrs in images
    )
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert figures.INK not in text
    parts = ["Estimator or statistics source?", "Shrinkage by layer", "4.0 % flip", "stein-bench evaluate resnet18"]
    assert all(part in page.text for part in [*parts, "1 failed, 1 warned, 1 passed.", "cccccccc"])


def test_names_stay_text_whatever_is_in_them(whole, save, invoke, tmp_path):
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>$x_{1"
    model = whole.model.model_copy(update={"name": evil, "source": evil})
    run = whole.run.model_copy(update={"command": evil})
    checks = [check.model_copy(update={"message": evil}) for check in whole.diagnostics]
    variants = [whole.variants[0], replaced(whole.variants[1], bn=evil)]
    attacked = whole.model_copy(update={"model": model, "run": run, "diagnostics": checks, "variants": variants})
    path = save(attacked, examples=[example()], classes=(evil, evil))
    outputs = ["--html", tmp_path / "r.html", "--markdown", tmp_path / "r.md", "--junit", tmp_path / "r.xml"]
    result = invoke("report", path, *outputs, "--plot", "gallery", tmp_path / "g.png")
    assert result.exit_code == 0, result.output
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.named("script") == [{}]
    assert all("alert(" not in script for script in page.scripts)
    assert not [attrs for attrs in page.named("img") if "onerror" in attrs or not attrs["src"].startswith("data:")]
    assert page.text.count(evil) > 5
    ET.parse(tmp_path / "r.xml")
    assert "<script>" not in (tmp_path / "r.md").read_text(encoding="utf-8").replace(r"\<", "")


@pytest.mark.integration
def test_examples_that_are_gone_or_edited_are_said_so_and_the_page_is_written(whole, save, invoke, tmp_path):
    path = save(whole, examples=[example()])
    (tmp_path / "report.adversarials.npz").write_bytes(b"edited")
    result = invoke("report", path, "--html", tmp_path / "r.html")
    assert result.exit_code == 0
    assert "its hash differs" in result.stderr
    assert "its hash differs" in Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    result = invoke("report", path, "--plot", "gallery", tmp_path / "g.png")
    assert result.exit_code == 2
    assert not (tmp_path / "g.png").exists()


def test_untrustworthy_results_are_the_first_thing_on_the_page(whole, save, invoke, tmp_path):
    path = save(replaced(whole, variants=[doubtful(whole.variants[0])]))
    invoke("report", path, "--html", tmp_path / "r.html", "--junit", tmp_path / "r.xml", "--csv", tmp_path / "r.csv")
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert text.index("invalid: 2 inputs are outside") < text.index("No conclusion: a result cannot be trusted")
    suite = ET.parse(tmp_path / "r.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors")) == ("1", "1")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text())))
    assert [row["status"] for row in rows if row["accuracy"].startswith("pgd")] == ["ok", "invalid"]


def test_without_a_file_the_table_is_printed(whole, save, invoke):
    result = invoke("report", save(whole))
    assert result.exit_code == 0
    assert "worst case" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.json"], "cannot read the report 'missing.json'"),
        (["REPORT", "--plot", "curv", "c.svg"], "unknown kind of --plot 'curv'. Did you mean 'curve'"),
        (["REPORT", "--plot", "curve", "c.gif"], "the name must end in .png or .svg"),
        (["REPORT", "--plot", "curve"], "write a kind and a file"),
        (["REPORT", "--plot", "bars", "a.svg", "--plot", "bars", "b.svg"], "--plot bars is given twice"),
        (["REPORT", "--html", "REPORT"], "would overwrite an input file"),
        (["REPORT", "--html", "no/where.html"], "a file in an existing folder"),
        (["REPORT", "--plot", "gallery", "TMP/g.png"], "Evaluate with --save-adversarials N"),
    ],
)
def test_wrong_usage_is_one_line(whole, save, invoke, tmp_path, arguments, message):
    path = save(whole)
    result = invoke("report", *(a.replace("REPORT", str(path)).replace("TMP", str(tmp_path)) for a in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_curve_needs_two_budgets(save, invoke, tmp_path):
    result = invoke("report", save(report(variant())), "--plot", "curve", tmp_path / "c.svg")
    assert (result.exit_code, "only one budget" in result.stderr) == (2, True)
    invoke("report", save(report(variant(attacks={"pgd": attack("pgd")}))), "--html", tmp_path / "r.html")
    assert "failed" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_curve_has_a_diagram_for_each_norm(whole, save, invoke, tmp_path):
    variants = []
    for one in whole.variants:
        wider = [replaced(b, norm="L2", eps=60 * b.eps) for b in one.budgets]
        variants.append(replaced(one, budgets=[*one.budgets, *wider]))
    path = save(replaced(whole, variants=variants))
    assert invoke("report", path, "--plot", "curve", tmp_path / "c.svg").exit_code == 0
    text = (tmp_path / "c.svg").read_text(encoding="utf-8")
    assert [text.count(f"ε ({norm})") for norm in ("Linf", "L2")] == [1, 1]
    assert text.count("stein/running") == 1


def test_a_curve_of_a_segmentation_shows_the_figure_that_it_is_compared_by(whole):
    def scored(part, miou):
        return replaced(part, metrics={"miou": Figure(value=miou, ci95=(miou - 0.1, miou + 0.1))})

    one = whole.variants[0]
    budgets = [scored(budget, 0.4 - 0.1 * i) for i, budget in enumerate(one.budgets)]
    data = replaced(whole.data, task="segmentation")
    seen = replaced(whole, data=data, variants=[replaced(one, clean=scored(one.clean, 0.6), budgets=budgets)])
    (line,) = curves(seen)["Linf"]
    assert line.y == pytest.approx((0.6, 0.4, 0.3))
    assert line.low == pytest.approx((0.5, 0.3, 0.2))
    assert measure(seen) == "mIoU"


def test_reports_are_compared_on_one_page(whole, save, invoke, tmp_path):
    other = report(variant("jsnorm", clean=bits(10, 200), attacks={"pgd": bits(90, 200)}), number=1)
    paths = [save(whole), save(other, "other.json")]
    invoke("report", *paths, "--html", tmp_path / "r.html", "--plot", "bars", tmp_path / "b.svg")
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "Compared" in text
    assert "other: jsnorm/running" in (tmp_path / "b.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("ground", ["#ffffff", "#141414"])
def test_colors_stand_out_in_light_and_dark(ground):
    """WCAG 2.2, 1.4.11: 3 to 1 for graphics."""
    for color in figures.COLORS:
        assert contrast(color, ground) >= 3, color


def test_series_differ_in_more_than_color():
    assert len({len(kinds) for kinds in (figures.COLORS, figures.MARKERS, figures.DASHES, figures.HATCHES)}) == 1
    assert all(len(set(kinds)) == len(kinds) for kinds in (figures.MARKERS, figures.DASHES, figures.HATCHES))


def test_volumes_are_shown_in_the_slice_that_changed_most():
    one = example(shape=(1, 5, 4, 4))
    adv = one.inputs.copy()
    adv[:, 3] += 0.1
    (shot,) = shots(Gallery((replace_adv(one, adv),), ("zero", "one")))
    assert shot.title == "sample 0, slice 4 of 5, label one"
    assert [name for name, _ in shot.pictures] == ["clean → one", "adversarial → zero", "difference ×5"]
    assert shot.pictures[0][1].tolist() == pixels(one.inputs[:, 3]).tolist()


def replace_adv(one, adv_inputs):
    from dataclasses import replace

    return replace(one, adv_inputs=adv_inputs)


def test_segmentations_are_overlays_that_leave_void_alone():
    maps = [np.array([[0, 1], [1, 255]])] * 3
    (shot,) = shots(Gallery((example(shape=(3, 2, 2), maps=maps),), ()))
    assert [name for name, _ in shot.pictures][:4] == [
        "clean",
        "labels",
        "prediction, clean",
        "prediction, adversarial",
    ]
    picture = np.full((2, 2, 3), 100, np.uint8)
    laid = overlaid(picture, maps[0])
    assert laid[1, 1].tolist() == [100, 100, 100]
    assert laid[0, 0].tolist() != laid[0, 1].tolist() == laid[1, 0].tolist()


def test_a_difference_of_nothing_and_pixels_that_are_not_finite_are_pictures_too():
    one = example()
    broken = one.inputs.copy()
    broken[0, 0, 0] = np.nan
    for adv in (one.inputs, broken):
        (shot,) = shots(Gallery((replace_adv(one, adv),), ("zero", "one")))
        assert shot.pictures[2][1].dtype == np.uint8


def test_a_figure_that_cannot_be_written_is_one_line(tmp_path):
    drawn = figures.bars(["a"], [figures.Series("s", (0.0,), (0.5,), (0.4,), (0.6,))], xlabel="x")
    with pytest.raises(UsageError, match=r"--plot bars .*: No such file"):
        figures.save(drawn, tmp_path / "no" / "b.png", "--plot bars")


@pytest.mark.integration
def test_the_command_imports_no_torch(whole, save, tmp_path):
    path = save(whole, examples=[example()])
    script = (
        "import sys\n"
        "from stein_bench.cli.commands import app\n"
        f"code = app(['report', {str(path)!r}, '--html', {str(tmp_path / 'r.html')!r}], standalone_mode=False)\n"
        "sys.exit(code or int('torch' in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_task_s_metrics_and_sites_are_on_the_page(save, invoke, tmp_path):
    from stein_bench.report.results import Figure, SiteResult

    auc = {"auc": Figure(value=0.875, ci95=(0.8, 0.9))}
    site = SiteResult(samples=7, accuracy=0.5, ci95=(0.2, 0.8), metrics={"auc": Figure(value=None, ci95=None)})
    one = variant()
    one = replaced(one, clean=replaced(one.clean, metrics=auc, sites={"<b>A</b>": site}))
    invoke("report", save(report(one)), "--html", tmp_path / "r.html")
    text = Page((tmp_path / "r.html").read_text(encoding="utf-8")).text
    assert "AUC %" in text
    assert "87.5 (80.0–90.0)" in text
    assert "<b>A</b> (n = 7): 50.0 % correct" in text
