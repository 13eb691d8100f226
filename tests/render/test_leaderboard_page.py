"""The page of `compare --html`: complete without JavaScript, harmless names, and what its script sorts and filters."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import subprocess

import pytest

from stein_bench.report.results import CommonCorruptions, CorruptionMean, MeanCorruptionError, WeightsInfo
from stein_bench.sweep.failure import Failure
from tests.render.parsed import CHROMIUM
from tests.render.test_report_page import Page
from tests.reports import FGSM, PGD, attack, bits, diagnostic, doubtful, pack_bits, replaced, report, variant

EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)>" onload="x'
ESCAPED = "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img"
WHOLE = {"steps": 100, "queries": 5000}


def by_autoattack(wrong, **changes):
    label = "autoattack:norm=Linf,eps=0.03"
    made = attack("autoattack", bits(wrong), label=label, params=WHOLE, forward_passes=1000, backward_passes=500)
    one = variant(attacks={label: made}, **changes)
    return replaced(one, outcomes=replaced(one.outcomes, robust={label: pack_bits(bits(wrong))}))


def corrupted(one, standard, mce=0.8):
    """Add a summary of corruptions; its figures are not looked at by a comparison."""
    fog = CorruptionMean(severities=[1, 3], accuracies=[0.5, 0.3], accuracy=0.4, ci95=(0.3, 0.5))
    error = MeanCorruptionError(baseline="AlexNet", baseline_run=None, mce=mce, relative_mce=0.9)
    common = CommonCorruptions(
        corruptions={"fog": fog}, accuracy=0.4, ci95=(0.3, 0.5), standard=standard, mce=error
    )  # fmt: skip
    return replaced(one, common_corruptions=common)


@pytest.fixture
def many():
    """Reports of two data sets: AutoAttack, weaker attacks, none; batch statistics, failed and invalid results."""
    masked = diagnostic(name="probe-iterated-vs-one-step", variant="sample/running")
    pretrained = WeightsInfo(kind="pretrained", sha256="b" * 64)
    return {
        "strong": report(by_autoattack(60, weights=pretrained), by_autoattack(55, bn="stein"), model="net-a"),
        "strongest": report(by_autoattack(70, clean=bits(5)), model="net-b", number=1),
        "weak": report(corrupted(variant(), True), variant("stein"), model="net-c", number=2),
        "masked": report(variant(attacks={PGD: bits(12)}), model="net-d", diagnostics=[masked], number=3),
        "batch": report(variant("stein", "batch"), model="net-e", number=4),
        "invalid": report(doubtful(variant()), model=EVIL, number=5),
        "clean": report(variant(attacks={}, clean=bits(30)), model="net-f", number=6),
        "other": report(variant(attacks={FGSM: bits(50)}), data="e", model="net-g", number=7),
    }


@pytest.fixture
def write(invoke, save, tmp_path, monkeypatch):
    """Write the page of reports by name and return its text."""

    def written(found, *arguments):
        paths = [save(one, f"{name}.json") for name, one in found.items()]
        result = invoke("compare", *(arguments or paths), "--html", tmp_path / "board.html")
        assert result.exit_code in (0, 3), result.output
        return (tmp_path / "board.html").read_text(encoding="utf-8")

    return written


def tables(text):
    """Return the sections' rows as lists of cells, without markup; marks are after a bar."""
    found = []
    for part in text.split('<section class="board"')[1:]:
        body = part[part.index("<tbody>") : part.index("</tbody>")]
        rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in body.split("</tr>")[:-1]]
        found.append([[re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", cell)).strip() for cell in row] for row in rows])
    return found


def headers(text, section=1):
    part = text.split('<section class="board"')[section]
    return re.findall(r'data-key="([^"]*)"', part[: part.index("</thead>")])


def test_without_javascript_it_is_a_complete_table_that_is_ranked(write, many):
    text = write(many)
    first, second = tables(text)
    assert headers(text) == [
        "rank", "model", "bn", "clean", "Linf-8/255", "corruptions", "mce", "attacks", "samples", "parameters",
        "passes", "seconds",
    ]  # fmt: skip
    assert [(row[0], row[1].split()[0], row[2].split()[0], row[4].split()[0]) for row in first] == [
        ("A 1", "net-a", "stein", "45.0"), ("A 2 ≈", "net-a", "sample", "40.0"), ("A 3", "net-b", "sample", "30.0"),
        ("B 1", "net-c", "sample", "50.0"), ("B 1 ≈", "net-c", "stein", "50.0"), ("–", "net-d", "sample", "88.0"),
        ("–", "net-e", "stein", "50.0"), ("–", ESCAPED, "sample", "–"),
        ("–", "net-f", "sample", "–"),
    ]  # fmt: skip
    assert [row[0] for row in second] == ["–"]
    page = Page(text)
    assert ["data-bad" in attrs for attrs in page.named("tr") if "data-bn" in attrs].count(True) == 2
    assert "2 data sets" in page.text
    assert not page.named("button")[1:]  # of the filters, which are hidden; the headers' are made by the script
    assert "hidden" in page.named("form")[0]


@pytest.mark.parametrize(
    ("row", "column", "text"),
    [
        (0, 1, "net-a resnet18 · trained here ·"),
        (0, 2, "stein running statistics"),
        (0, 3, "90.0 82.6–94.5"),
        (0, 4, "45.0 35.6–54.8"),
        (0, 10, "15 10 + 5.0"),
        (0, 11, "1.5 cpu, fp32"),
        (0, 8, "100"),
        (0, 9, "11.2 M"),
        (1, 1, "net-a resnet18 · pretrained weights ·"),
        (3, 4, "50.0 40.4–59.6 upper bound by fgsm, pgd only"),
        (3, 5, "40.0 30.0–50.0"),
        (3, 6, "80.0 relative to AlexNet"),
        (3, 7, "fgsm 8/255, pgd 8/255"),
        (5, 1, "gradients may be masked"),
        (6, 2, "stein batch statistics, batches of 10"),
        (7, 4, "– pgd 8/255: invalid: 2 inputs are outside"),
        (8, 7, "no attack"),
    ],
)
def test_every_cell_says_what_it_is(write, many, row, column, text):
    cell = tables(write(many))[0][row][column]
    assert text in cell if column == 1 else cell == text


def test_the_rankings_are_explained(write, many):
    text = Page(write(many)).text
    assert "A: complete AutoAttack, running statistics: 3 rows" in text
    assert "B: upper bounds by fgsm, pgd, running statistics: 2 rows" in text
    assert "2 rows are each alone" in text


def test_corruptions_that_are_not_the_standard_ones_are_said_so_and_stand_below(write):
    made = {"some": report(corrupted(variant(), False)), "all": report(corrupted(variant(), True), number=1)}
    text = write(made, *())
    cells = {row[1].split("· ")[-1].split("/")[-1]: row[headers(text).index("corruptions")] for row in tables(text)[0]}
    assert cells == {"all.json": "40.0 30.0–50.0", "some.json": "40.0 30.0–50.0 1 corruption at 1, 3"}
    assert text.count('data-g="1"') == 1


def test_names_stay_text_and_only_the_page_s_own_script_may_run(write, many):
    text = write(many)
    page = Page(text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(page.named("script")) == 1
    assert not page.named("img")
    assert not [attrs for _, attrs in page.elements if any(name.startswith("on") for name in attrs)]
    assert page.text.count(EVIL) >= 1
    policies = [
        attrs["content"] for attrs in page.named("meta") if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; ")
    assert f"; script-src 'sha256-{digest}'; " in policies[0]


def test_nothing_is_loaded_from_anywhere(write, many):
    text = write(many)
    for _, attrs in Page(text).elements:
        for name in ("src", "href", "srcset", "action"):
            assert attrs.get(name, "#").startswith(("#", "data:")), attrs
    assert "url(" not in text
    assert "@import" not in text
    for word in ("fetch(", "XMLHttpRequest", "import(", "eval(", "innerHTML"):
        assert word not in text


def test_of_two_reports_the_page_has_the_pairs_and_then_all_figures(write, many):
    text = write({name: many[name] for name in ("strong", "weak")})
    page = Page(text).text
    assert page.index("Compared sample by sample") < page.index("All figures") < page.index("How to read this")
    assert "Comparison" in page
    assert "B minus A, in percentage points" in page
    assert len(tables(text)[0]) == 4


def test_of_one_report_the_page_has_its_variants(write, many):
    text = write({"strong": many["strong"]})
    assert "2nd minus 1st" in Page(text).text
    assert [row[0] for row in tables(text)[0]] == ["1", "2 ≈"]


def test_a_folder_is_a_leaderboard_however_few_reports_it_has(write, many, tmp_path):
    text = write({"strong": many["strong"]}, tmp_path)
    assert "Leaderboard" in Page(text).text
    assert "Compared sample by sample" not in Page(text).text


def test_reports_are_named_by_their_place_without_the_folders_above(write, many, tmp_path):
    text = write(many)
    assert f"{tmp_path.name}/strong.json" in text
    assert str(tmp_path.parent) not in text


def test_nothing_is_written_if_a_report_is_damaged(invoke, save, many, tmp_path):
    broken = variant()
    broken = replaced(broken, outcomes=replaced(broken.outcomes, clean_correct="AAAA"))
    paths = [save(many["strong"], "a.json"), save(report(broken), "b.json"), save(many["weak"], "c.json")]
    result = invoke("compare", *paths, "--html", tmp_path / "board.html", "--csv", tmp_path / "board.csv")
    assert result.exit_code == 2
    assert not list(tmp_path.glob("board.*"))


STRONG = ["A 1 net-a stein", "A 2 ≈ net-a sample", "A 3 net-b sample"]
WEAK = ["B 1 net-c sample", "B 1 ≈ net-c stein"]
ALONE = ["– net-d sample", "– net-e stein"]
NAMES = ["net-a stein", "net-a sample", "net-c sample", "net-c stein", "net-d sample"]
NONE = [f"– {EVIL} sample", "– net-f sample"]


@pytest.mark.integration
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which runs the page's script")
@pytest.mark.parametrize(
    ("address", "shown", "sorted_by"),
    [
        ("", [*STRONG, *WEAK, *ALONE, *NONE, "– net-g sample"], "rank ascending"),
        (
            "#by=clean&data=1",
            ["1 net-b sample", *(f"2 ≈ {name}" for name in (*NAMES[:5], f"{EVIL} sample")), "8 net-f sample", ALONE[1]],
            "rank ascending",
        ),
        ("#by=Linf-8/255&strength=0", STRONG, "rank ascending"),
        ("#q=NET-A&bn=stein", STRONG[:1], "rank ascending"),
        ("#stats=batch", ALONE[1:], "rank ascending"),
        (
            "#ok=1&sort=Linf-8/255,up&data=1",
            [*reversed(STRONG), *WEAK, *ALONE[1:], *NONE[1:]],
            "Linf-8/255 ascending",
        ),
        (
            "#sort=model,down&q=net-&data=1",
            [NONE[1], *reversed(ALONE), *WEAK, STRONG[2], *STRONG[:2]],
            "model descending",
        ),
        ("#bn=nonsense&sort=nonsense&by=%3Cscript%3E&q=net-g", ["– net-g sample"], "rank ascending"),
    ],
)
def test_the_script_sorts_and_filters_as_the_address_says(write, many, tmp_path, address, shown, sorted_by):
    write(many)
    page = f"file://{tmp_path / 'board.html'}{address}"
    dom = rendered(tmp_path, page)
    parts = [part for part in dom.split("<section ")[1:] if "hidden" not in part[: part.index(">")]]
    rows = [row for part in parts for row in re.findall(r"<tr (data-bn.*?)</tr>", part, re.DOTALL)]
    cells = [re.findall(r"<b>(.*?)</b>", row)[:3] for row in rows if "hidden" not in row[: row.index(">")]]
    assert [html.unescape(" ".join(row)) for row in cells] == shown
    status = re.search(r'<p id="shown"[^>]*>(.*?)</p>', dom)[1]
    assert status == ("10 rows" if len(shown) == 10 else f"{len(shown)} of 10 rows shown")
    heads = re.findall(r'<th scope="col"(.*?)</th>', parts[0], re.DOTALL)
    sorts = [(re.search(r'data-key="(.*?)"', head)[1], re.search(r'aria-sort="(.*?)"', head)) for head in heads]
    assert [f"{key} {sort[1]}" for key, sort in sorts if sort] == [sorted_by]
    assert all('<button type="button">' in head for head in heads)


DRIVER = """<iframe src="board.html"></iframe><pre></pre><script>
onload = function () {
  const page = frames[0], form = page.document.forms[0], said = [];
  function heads(key) { return page.document.querySelector('th[data-key="' + key + '"]'); }
  function say() {
    const row = page.document.querySelector("tbody tr:not([hidden])");
    const shown = page.document.getElementById("shown").textContent;
    said.push(page.location.hash + " " + row.cells[1].firstChild.textContent + " " + shown);
  }
  say();
  heads("parameters").querySelector("button").click(); say();
  heads("clean").querySelector("button").click(); say();
  heads("clean").querySelector("button").click(); say();
  form.elements.q.value = "net-c"; form.elements.q.dispatchEvent(new Event("input", { bubbles: true })); say();
  form.reset();
  setTimeout(function () { say(); document.querySelector("pre").textContent = said.join("\\n"); }, 100);
};</script>"""
"""Uses the page as a person does, and says after each step its address, its first row, and how many are shown."""


@pytest.mark.integration
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which runs the page's script")
def test_clicks_and_fields_sort_filter_and_are_kept_in_the_address(write, many, tmp_path):
    write({name: many[name] for name in ("strong", "strongest", "weak")})
    (tmp_path / "driver.html").write_text(DRIVER, encoding="utf-8")
    dom = rendered(tmp_path, f"file://{tmp_path / 'driver.html'}")
    assert html.unescape(re.search(r"<pre>(.*?)</pre>", dom, re.DOTALL)[1]).splitlines() == [
        " net-a 5 rows",
        "#sort=parameters%2Cup net-a 5 rows",
        "#sort=clean%2Cdown net-b 5 rows",
        "#sort=clean%2Cup net-a 5 rows",
        "#q=net-c&sort=clean%2Cup net-c 2 of 5 rows shown",
        " net-a 5 rows",
    ]


def rendered(folder, address):
    """Return the document that Chromium makes of a page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000"]
    done = subprocess.run([CHROMIUM, *options, address], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def test_models_of_a_sweep_without_a_report_are_listed(write, many, tmp_path):
    failure = Failure(name="x", model="net.py:x", reason="<b>out of memory</b>")
    (tmp_path / "x.failed.json").write_text(failure.to_json(), encoding="utf-8")
    text = Page(write({"strong": many["strong"]}, tmp_path)).text
    assert "Models without a report" in text
    assert "x (net.py:x) failed: <b>out of memory</b>" in text
