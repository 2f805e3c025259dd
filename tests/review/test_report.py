"""The report of a review, read back by a CSV reader and an HTML parser."""

from __future__ import annotations

import csv
import io
import locale
from html.parser import HTMLParser

import pytest

from app.domain.segmentation import CaseScore, LabelScore, Verdict
from app.review.report import CSV_COLUMNS, ReviewReport, csv_report, html_report
from app.review.verdicts import CaseReview, ReviewEntry


def label(name: str, dice: float | None, reference_ml=5.0, prediction_ml=5.25) -> LabelScore:
    return LabelScore(
        label=name,
        dice=dice,
        hausdorff95_mm=2.5 if dice else None,
        surface_dice=dice,
        reference_ml=reference_ml,
        prediction_ml=prediction_ml,
        reference_components=1,
        prediction_components=2,
    )


def review(case: str, verdict: Verdict, comments=(), **changes) -> CaseReview:
    def entry(**own) -> ReviewEntry:
        return ReviewEntry(
            **{
                "case": case,
                "model_digest": "m",
                "reviewer": "Dr. Ö <b>",
                "at": 1_700_000_000.0,
                **own,
            }
        )

    return CaseReview(
        case=case,
        verdict=verdict,
        decided=None if verdict is Verdict.UNREVIEWED else entry(verdict=verdict, **changes),
        comments=tuple(entry(comment=text, voxel=(1, 2, 3)) for text in comments),
    )


@pytest.fixture
def report() -> ReviewReport:
    return ReviewReport(
        title="Hippocampus & more",
        model_digest="0123456789abcdef0123",
        scores=(
            CaseScore(case="good", labels=(label("a", 0.9), label("b", 0.95))),
            CaseScore(case="bad", labels=(label("a", 0.25), label("b", None, 0.0, 0.0))),
            CaseScore(case="added", labels=(label("a", 0.0, 0.0, 1.5), label("b", 0.8))),
        ),
        reviews=(
            review("good", Verdict.ACCEPTED),
            review(
                "bad",
                Verdict.FLAGGED,
                comments=["=HYPERLINK(1)", "second, with comma"],
                reason='<script>"leak"</script>',
            ),
            review("added", Verdict.UNREVIEWED),
            review("-unscored", Verdict.ACCEPTED),
        ),
        made_at=1_700_000_000.0,
        pictures={"bad": b"\x89PNG picture", "good": b"\x89PNG not shown"},
    )


def rows(report: ReviewReport) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_report(report), newline="")))


def test_the_csv_has_a_row_per_case_and_label_worst_first(report):
    assert [(row["case"], row["label"]) for row in rows(report)] == [
        ("added", "a"),
        ("added", "b"),
        ("bad", "a"),
        ("bad", "b"),
        ("good", "a"),
        ("good", "b"),
        ("'-unscored", ""),
    ]


def test_a_row_of_the_csv_whole(report):
    assert rows(report)[2] == {
        "case": "bad",
        "label": "a",
        "dice": "0.250000",
        "hausdorff95_mm": "2.500000",
        "surface_dice": "0.250000",
        "reference_ml": "5.000000",
        "prediction_ml": "5.250000",
        "reference_components": "1",
        "prediction_components": "2",
        "only_predicted": "no",
        "verdict": "flagged",
        "reason": '<script>"leak"</script>',
        "reviewer": "Dr. Ö <b>",
        "reviewed_at": "2023-11-14 22:13 UTC",
        "comments": "'=HYPERLINK(1) | second, with comma",
    }


def test_scores_that_are_not_defined_are_blank_and_the_badge_is_told(report):
    undefined, only_predicted = rows(report)[3], rows(report)[0]
    assert (undefined["dice"], undefined["hausdorff95_mm"]) == ("", "")
    assert only_predicted["only_predicted"] == "yes"
    assert list(undefined) == list(CSV_COLUMNS)


def test_numbers_have_a_point_in_every_language(report):
    before = csv_report(report), html_report(report)
    kept = locale.setlocale(locale.LC_NUMERIC)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8"):
        try:
            locale.setlocale(locale.LC_NUMERIC, name)
        except locale.Error:
            continue
        try:
            assert (csv_report(report), html_report(report)) == before
        finally:
            locale.setlocale(locale.LC_NUMERIC, kept)
    assert "0.250000" in before[0]


class Page(HTMLParser):
    """Collects tags and texts; notices tags that are closed out of order."""

    VOID = frozenset({"meta", "img", "rect", "path"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "href"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_the_page_is_well_formed_and_needs_nothing_else(report):
    page = Page(html_report(report))
    assert page.open == []
    assert "script" not in page.tags
    assert page.links == ["data:image/png;base64,iVBORyBwaWN0dXJl"]


def test_the_page_says_what_people_said(report):
    texts = Page(html_report(report)).texts
    assert "Hippocampus & more" in texts
    everything = " ".join(texts)
    assert '<script>"leak"</script> (Dr. Ö <b>)' in everything
    assert "second, with comma (voxel z, y, x: 1, 2, 3)" in texts
    assert "a: only predicted" in texts
    assert "Mean foreground Dice: 0.629." in everything  # (0.3833 + 0.875) / 2
    assert "For research use only." in everything
    counts = texts[texts.index("unreviewed") :]
    assert [text for text in counts if text][:6] == [
        "unreviewed",
        "1",
        "accepted",
        "2",
        "flagged",
        "1",
    ]


def test_the_page_lists_cases_worst_first(report):
    texts = [text for text in Page(html_report(report)).texts if text]
    listed = texts[texts.index("Cases, worst first") :]
    places = [listed.index(case) for case in ("added", "bad", "good")]
    assert places == sorted(places)


def test_a_report_without_scores_still_counts_verdicts(report):
    empty = ReviewReport(
        title="t", model_digest="m", scores=(), reviews=report.reviews, made_at=0.0
    )
    page = html_report(empty)
    assert "Verdicts" in page
    assert "Scores by label" not in page
    assert "Mean foreground Dice: -." in page
    assert len(rows(empty)) == 4
