"""CSV and NDJSON: what each value becomes, and the last line."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.exports import csv_columns
from service.exports.formats import Csv, Ndjson
from service.exports.formula import BEGINS, FORMULA, no_formula
from service.store.report_views import ATTEMPTS, SESSIONS, TIMELINE, Kind, Plain, View

TROUBLESOME = "a=+-@\t\r\n＝;,\"' \0"


def row(view: View, **values: Plain) -> list[Plain]:
    return [values.get(name) for name in view.columns]


def cells(made: Csv, written: list[Plain]) -> dict[str, str]:
    text = (made.begin() + made.rows([written])).decode("utf-8-sig")
    (found,) = csv.DictReader(io.StringIO(text, newline=""))
    return dict(found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30 1234", "'+49 30 1234"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r'=1"),
        ("＝1", "'＝1"),
        ("a;=1", "a;'=1"),
        ("x\n=cmd", "x\n'=cmd"),
        ("a, -1", "a, '-1"),
        ("plain", "plain"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_no_text_is_a_formula(text: str, shown: str) -> None:
    assert no_formula(text) == shown
    given = row(SESSIONS, reference=text, labels=json.dumps({"a": text}))
    assert cells(Csv(SESSIONS), given)["reference"] == shown
    assert cells(Csv(SESSIONS, exact=True), given)["reference"] == text


def test_numbers_and_times_are_never_changed() -> None:
    shown = cells(Csv(SESSIONS), row(SESSIONS, seconds_to_started=-0.5, requested_at="-x", attempts=-1))
    assert [shown[name] for name in ("seconds_to_started", "requested_at", "attempts")] == [
        "-0.5",
        "-x",
        "-1",
    ]


def test_what_is_not_known_is_an_empty_cell_and_truths_are_words() -> None:
    shown = cells(Csv(TIMELINE), row(TIMELINE, correction=False, position=3))
    assert (shown["correction"], shown["position"], shown["before"]) == ("false", "3", "")


@given(
    st.lists(
        st.tuples(
            st.text(TROUBLESOME, max_size=5) | st.text() | st.none(),
            st.floats() | st.none(),
            st.integers() | st.none(),
            st.text(TROUBLESOME, max_size=5),
        ),
        max_size=5,
    )
)
def test_it_is_what_csv_writer_makes_of_it(
    values: list[tuple[str | None, float | None, int | None, str]],
) -> None:
    kinds = (Kind.TEXT, Kind.NUMBER, Kind.WHOLE, Kind.LABELS)
    written = io.StringIO()
    csv.writer(written).writerows(values)
    columns = [
        csv_columns.cells(kind, column, exact=True)
        for kind, column in zip(kinds, zip(*values, strict=True), strict=False)
    ]
    assert csv_columns.lines(columns) == written.getvalue()


@given(st.lists(st.text(TROUBLESOME, max_size=5) | st.none(), min_size=1))
def test_in_a_column_each_text_is_shown_as_if_it_were_alone(texts: list[str | None]) -> None:
    column = csv_columns.cells(Kind.TEXT, texts, exact=False)
    alone = [csv_columns.cells(Kind.TEXT, [FORMULA.sub(r"\1'", text or "")], exact=True)[0] for text in texts]
    assert column == alone
    read = next(csv.reader(io.StringIO(csv_columns.lines([[one] for one in ["", *column]]), newline="")))
    assert not any(cell.startswith(tuple(BEGINS)) for cell in read)


def test_the_mark_that_spreadsheets_need_is_left_out_where_it_is_exact() -> None:
    assert Csv(ATTEMPTS).begin().startswith(b"\xef\xbb\xbfsession_id,number,")
    assert Csv(ATTEMPTS, exact=True).begin().startswith(b"session_id,number,")


def test_labels_are_an_object_in_ndjson() -> None:
    labels = '{"a":"=1","b":"ü"}'
    shown = json.loads(
        Ndjson(SESSIONS).rows([row(SESSIONS, labels=labels, secure=True, duration_seconds=60.0)])
    )
    assert shown["labels"] == {"a": "=1", "b": "ü"}
    assert (shown["secure"], shown["duration_seconds"], shown["name"]) == (True, 60.0, None)
    assert list(shown) == list(SESSIONS.columns)


def test_the_last_line_says_whether_it_is_whole() -> None:
    assert Csv(SESSIONS).end(3, 811) == b'"# rows: 3, up to position 811"\r\n'
    broken_off = Csv(SESSIONS).broken_off(3, "the database did not answer").decode()
    assert broken_off == '"# failed after rows: 3, the rest is missing: the database did not answer"\r\n'
    assert json.loads(Ndjson(SESSIONS).end(3, 811)) == {"end": {"complete": True, "rows": 3, "position": 811}}
    assert json.loads(Ndjson(SESSIONS).broken_off(3, "why")) == {
        "end": {"complete": False, "rows": 3, "why": "why"}
    }
