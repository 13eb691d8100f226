"""The page of a report as it is read: the order of its parts, headings, links, colors, figures, samples, paper."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from html import unescape
from importlib.resources import files
from itertools import pairwise

import pytest

from stein_bench.measures import RightOrWrong
from stein_bench.measures.budgets import budget_results
from stein_bench.render import figures
from stein_bench.render.figures import MOST_NAMED, Panel, Series
from stein_bench.render.multiples import bars_apart, curves_apart
from stein_bench.render.pages import breakable
from stein_bench.render.report.outcomes import result_rows
from stein_bench.render.report.sections import every_outcome, folded, key_numbers
from stein_bench.report.results import Figure
from tests.render.page_reports import FGSM, PGD, bits, diagnostic, example, label, replaced, report, variant
from tests.render.parsed import CHROMIUM, Page, contrast
from tests.reports import attack, corrupted

LONG_NAME = "positive-part-james-stein-toward-the-grand-mean"


@pytest.fixture
def page_text(save, invoke, tmp_path):
    """Return the page of a report, or of several, with these stored examples."""

    def make(*found, examples=()):
        paths = [save(one, f"r{i}.json", examples=list(examples)) for i, one in enumerate(found)]
        result = invoke("report", *paths, "--html", tmp_path / "page.html")
        assert result.exit_code == 0, result.output
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return make


@pytest.fixture
def small():
    """A report whose page has no figure, and is made quickly."""
    return report(variant("stein", attacks={PGD: bits(50)}))


def many(variants=6, attacks=12):
    """A report with many variants and attacks at three budgets."""
    found = []
    for number in range(variants):
        name = LONG_NAME if number == 4 else ("sample" if number == 0 else f"bn{number}")
        outcomes = {
            (f"attack{i}", e / 255): bits(20 + e * (4 + i) - 2 * number, 200) for i in range(attacks) for e in (2, 4, 8)
        }
        one = variant(name, "running", bits(10, 200), outcomes)
        robust = {label(*key): RightOrWrong(right) for key, right in outcomes.items()}
        found.append(replaced(one, budgets=budget_results(one.attacks, robust)))
    return report(*found)


@pytest.mark.parametrize("several", [False, True])
def test_headings_landmarks_links_and_tables_can_be_walked_through(whole, small, page_text, several):
    page = Page(page_text(*([small, small] if several else [whole]), examples=[example()]))
    levels = [level for level, _ in page.headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(page.named("main")) == 1
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    links = [attrs["href"][1:] for attrs in page.named("a")]
    assert links[0] == "main"
    assert set(links) <= ids
    bars = [attrs for tag, attrs in page.of_class("jump") if tag == "nav"]
    assert len({attrs["aria-label"] for attrs in bars}) == len(bars) == 1 + several
    assert all(attrs.get("scope") in ("col", "row", "rowgroup") for attrs in page.named("th"))
    assert all(
        attrs["tabindex"] == "0" and attrs["role"] == "region" and attrs["aria-label"]
        for _, attrs in page.of_class("scroll")
    )


def test_what_failed_comes_first_then_the_conclusion_the_key_numbers_and_the_figure(page_text):
    checks = [diagnostic(name="repeatable", variant="stein/running", message=f"finding {i}") for i in range(3)]
    text = page_text(report(variant("stein"), diagnostics=[*checks, diagnostic(), diagnostic("pass")]))
    order = ["repeatable failed (stein/running)</b>: finding 0 (and 2 more)", "4 of 5 sanity checks failed",
             'class="headline"', 'aria-label="Key numbers"',
             "<svg", 'aria-label="Every accuracy"', "Provenance</h2>"]  # fmt: skip
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_the_key_numbers_are_clean_worst_case_and_its_difference(whole):
    sheet = key_numbers(whole, result_rows(whole))
    assert sheet.headers == ["BN, statistics", "clean accuracy, %", "worst case, %", "difference, points", "p"]
    assert sheet.rows[1][0] == "stein/running"
    assert sheet.rows[1][2].startswith("65.0 (58.2–71.3)")
    assert sheet.rows[1][3].startswith("+15.0 ")
    assert sheet.rows[0][3:] == ["", ""]
    assert sheet.rows[3][0] == "stein/batch (control)"


@pytest.mark.parametrize(
    ("attacks", "headers"),
    [
        ({}, ["BN, statistics", "clean accuracy, %"]),
        ({PGD: bits(50)}, ["BN, statistics", "clean accuracy, %", "pgd 8/255, %"]),
    ],
)
def test_a_single_figure_is_not_told_twice(attacks, headers, page_text):
    one = report(variant(attacks=attacks))
    assert key_numbers(one, result_rows(one)).headers == headers
    assert every_outcome(one, result_rows(one)) is None
    assert "Every attack" not in page_text(one)


def test_without_a_result_of_the_worst_case_there_is_none():
    one = report(variant(attacks={FGSM: bits(40), PGD: attack(PGD)}))
    assert key_numbers(one, result_rows(one)).rows[0][2] == "–"


def test_every_outcome_has_a_row_and_every_variant_a_column():
    one = many()
    every = every_outcome(one, result_rows(one))
    ((_, lines),) = every["groups"]
    titles = [line["title"] for line in lines]
    assert len(titles) == len(set(titles)) == 1 + 36 + 2 + 1
    assert titles[-3:] == ["worst case, Linf ε ≤ 2/255", "worst case, Linf ε ≤ 4/255", "worst case"]
    assert all(len(line["cells"]) == 6 for line in lines)
    value, below = lines[-1]["cells"][1]
    assert value[0] == "31.0"
    assert below[0].startswith("+1.0 (")
    assert lines[0]["main"]
    assert not lines[1]["main"]


def test_names_are_wrapped_after_a_slash_but_not_in_a_fraction_and_stay_escaped():
    assert breakable(f"{LONG_NAME}/running") == f"{LONG_NAME}/<wbr>running"
    assert breakable("pgd 8/255") == "pgd 8/255"
    assert breakable("a_b,c:<i>") == "a_<wbr>b,<wbr>c:&lt;i&gt;"


def test_corruptions_are_apart_from_attacks_in_the_table_and_in_figures(page_text):
    noises = {"noise-gaussian:std=0.1": bits(30), "noise-uniform:amount=0.1": bits(40)}
    one = report(*(corrupted(variant(bn), noises) for bn in ("sample", "stein")))
    (_, attacked), (title, beside) = every_outcome(one, result_rows(one))["groups"]
    assert (title, len(beside), len(attacked)) == ("Corruptions, which are not attacks", 2, 4)
    labels = [attrs["aria-label"] for attrs in Page(page_text(one)).named("div") if attrs.get("role") == "img"]
    by_attack, by_corruption = (next(alt for alt in labels if f"accuracy by {by}" in alt) for by in ("attack", "corr"))
    assert "gaussian" not in by_attack
    assert "gaussian" in by_corruption
    assert "pgd" not in by_corruption


def test_every_figure_tells_its_numbers_but_never_hundreds(page_text):
    page = Page(page_text(many()))
    assert page.of_class("many")
    labels = [attrs["aria-label"] for attrs in page.named("div") if attrs.get("role") == "img"]
    assert len(labels) == 2
    assert all(re.search(r"\d+\.\d %", alt) for alt in labels)
    assert all(len(alt) < 1500 for alt in labels)
    assert "sample/running: from clean 95.0 % to attack11 8/255 30.0 %" in labels[1]


def test_long_tables_are_folded_and_say_what_is_in_them(page_text):
    figure = {"auc": Figure(value=0.875, ci95=(0.8, 0.9))}
    one = many(2, 10)
    scored = [
        replaced(v, clean=replaced(v.clean, metrics=figure), attacks=[replaced(a, metrics=figure) for a in v.attacks])
        for v in one.variants
    ]
    assert "<details><summary>AUC by variant, outcome (64 rows)</summary>" in page_text(replaced(one, variants=scored))
    short = key_numbers(one, result_rows(one))
    assert folded(short, "x").folded == ""


def test_few_lines_are_named_at_their_ends_and_names_do_not_overlap():
    lines = [Series(f"bn{i}", (0.0, 0.03), (0.9, 0.1), (0.9, 0.1), (0.9, 0.1)) for i in range(MOST_NAMED)]
    panel = Panel("ε", {0.0: "0", 0.03: "8/255"}, lines)
    drawn = figures.curve([panel], ylabel="accuracy, %")
    assert not drawn.legends
    (axes,) = drawn.axes
    places = sorted(text.get_position()[1] for text in axes.texts)
    assert len(places) == MOST_NAMED
    assert all(after - before > 5 for before, after in pairwise(places))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "8"]
    more = Panel("ε", panel.ticks, [*lines, Series("last", (0.0, 0.03), (0.9, 0.2), (0.9, 0.2), (0.9, 0.2))])
    assert figures.curve([more], ylabel="accuracy, %").legends


def test_many_lines_and_bars_have_a_panel_each():
    series = [Series(f"bn{i}", (0.0, 1.0), (0.9, 0.1 * i), (0.8, 0.0), (1.0, 0.9)) for i in range(6)]
    for drawn in (
        curves_apart(Panel("ε", {0.0: "0", 1.0: "1"}, series), ylabel="accuracy, %"),
        bars_apart(["clean", "pgd"], series, xlabel="accuracy, %"),
    ):
        titles = [axes.get_title("left") for axes in drawn.axes]
        assert titles == [f"bn{i}" for i in range(6)]
    values = [text.get_text() for text in drawn.axes[3].texts]
    assert values == ["90.0", "30.0"]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("stein/running", ["stein/running"]),
        (f"{LONG_NAME}/running", ["positive-part-", "james-stein-", "toward-the-grand-", "mean/running"]),
        ("unbreakablenameofalayer", ["unbreakablenameofalayer"]),
    ],
)
def test_names_in_figures_are_wrapped_after_hyphens_and_slashes(name, lines):
    assert figures.wrapped(name).splitlines() == lines


def test_the_policy_allows_the_page_s_own_script_and_nothing_else(small, page_text):
    def policy(text):
        (found,) = [m["content"] for m in Page(text).named("meta") if "http-equiv" in m]
        return dict(part.split(" ", 1) for part in found.split("; "))

    text = page_text(small, examples=[example()])
    (script,) = Page(text).scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy(text)["script-src"] == f"'sha256-{digest}'"
    assert policy(text)["default-src"] == "'none'"
    assert not [name for _, attrs in Page(text).elements for name in attrs if name.startswith("on")]
    plain = page_text(small)
    assert policy(plain)["script-src"] == "'none'"
    assert not Page(plain).scripts


def test_samples_carry_what_they_are_filtered_by(small, page_text):
    examples = [example(), example(index=1, broken=False)]
    page = Page(page_text(small, examples=examples))
    keys = ("data-variant", "data-attack", "data-label", "data-outcome")
    found = [tuple(attrs[key] for key in keys) for tag, attrs in page.of_class("shot") if tag == "figure"]
    assert [one[3] for one in found] == ["broke", "held"]
    assert found[0][:3] == ("stein/running", "pgd 8/255", "one")
    assert {attrs["name"] for attrs in page.named("select")} == {key.removeprefix("data-") for key in keys}
    (filters,) = [attrs for tag, attrs in page.of_class("filters") if tag == "form"]
    assert "hidden" in filters  # without the script nothing is offered that does nothing
    assert "change 7.65/255 at most, L2 0.2" in page.text


def palettes():
    css = files("stein_bench.render").joinpath("templates/style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{([^}]*)\}", css)[:2]
    found = [dict(re.findall(r"--([a-z]+): (#[0-9a-f]+);", part)) for part in (light, dark)]
    assert found[0].keys() == found[1].keys()
    return css, found


@pytest.mark.parametrize("theme", [0, 1])
def test_texts_stand_out_from_every_ground(theme):
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text."""
    colors = palettes()[1][theme]
    grounds = {name: colors[name] for name in ("ground", "soft", "alarm")}
    for name in ("ink", "dim", "good", "bad", "warn", "link"):
        for ground, color in grounds.items():
            assert contrast(colors[name], color) >= 4.5, (name, ground)


def test_dark_colors_are_not_printed():
    css, _ = palettes()
    assert re.findall(r"@media ([^{]*prefers-color-scheme[^{]*) \{", css) == ["screen and (prefers-color-scheme: dark)"]


DRIVE = """
const log = [];
const say = (...values) => log.push(values.join(" "));
const visible = () => [...document.querySelectorAll(".shot")].filter((shot) => !shot.hidden).length;
const choose = (name, value) => {
  const select = document.querySelector(`select[name=${name}]`);
  select.value = value;
  select.dispatchEvent(new Event("change"));
};
const dialog = document.getElementById("enlarged");
const press = (key) => dialog.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
const place = () => dialog.querySelector("output").value;
say("offered", ...[...document.querySelectorAll(".filters label:not([hidden]) select")].map((select) => select.name));
say("all", visible());
choose("outcome", "held");
say("held", visible());
choose("outcome", "broke");
say("broke", visible(), document.querySelector(".filters output").value);
document.querySelector(".shot:not([hidden]) button").click();
say("open", dialog.open, place(), dialog.querySelectorAll("img").length);
press("ArrowRight");
say("right", place(), dialog.querySelector("p").textContent.split(";")[0]);
press("ArrowRight");
press("ArrowRight");
say("end", place());
press("Home");
press("ArrowRight");
dialog.addEventListener("close", () => {
  say("closed", dialog.open, document.activeElement.getAttribute("aria-label").split(";")[0]);
  document.title = log.join("|");
});
dialog.querySelector(".keys button:last-child").click();
"""


@pytest.mark.integration
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium was found")
def test_samples_are_filtered_and_enlarged_under_the_page_s_own_policy(small, page_text, tmp_path):
    examples = [example(index=i, broken=i < 3) for i in range(4)]
    text = page_text(small, examples=examples)
    digest = base64.b64encode(hashlib.sha256(DRIVE.encode()).digest()).decode()
    driven = text.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    driven = driven.replace("</body>", f"<script>{DRIVE}</script></body>")
    (tmp_path / "driven.html").write_text(driven, encoding="utf-8")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--virtual-time-budget=2000", "--dump-dom", (tmp_path / "driven.html").as_uri()]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    told = unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL).group(1)).split("|")
    assert told == [
        "offered outcome", "all 4", "held 1", "broke 3 3 of 4 samples", "open true 1 of 3 3",
        "right 2 of 3 sample 1, label one", "end 3 of 3",
        "closed false Enlarge stein/running, pgd 8/255, sample 1, label one",
    ]  # fmt: skip
