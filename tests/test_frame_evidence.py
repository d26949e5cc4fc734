"""Evidence as frames, mappings and values."""

import numpy as np
import pandas as pd
import pytest
from frame_cases import CODED, FRAMES, of_both, replaced

from fastar._data.frames import Schema


@of_both
def test_evidence_may_be_a_frame_a_mapping_or_values(kind):
    frame = FRAMES[kind]()
    schema = Schema.of(frame)
    np.testing.assert_array_equal(schema.rows(frame, 3), CODED)
    np.testing.assert_array_equal(schema.rows(frame[:1], 5), CODED[:1])
    free = np.full(7, np.nan)
    named = free.copy()
    named[[0, 4]] = 1, 2
    np.testing.assert_array_equal(schema.rows({"grade": "high", "kept": True}, 4), [named])
    np.testing.assert_array_equal(schema.rows({}, 4), [free])
    np.testing.assert_array_equal(schema.rows({"size": None, "colour": np.nan}, 4), [free])
    values = [True, 3, 0.5, "red", "low", 3.0, None]
    np.testing.assert_array_equal(schema.rows(values, 4), CODED[:1])
    np.testing.assert_array_equal(schema.rows(tuple(values), 4), CODED[:1])
    np.testing.assert_array_equal(schema.rows([values, values], 2), CODED[[0, 0]])
    np.testing.assert_array_equal(schema.rows(np.array(values, object), 4), CODED[:1])
    values = [np.True_, np.int8(3), np.float32(0.5), np.str_("red"), pd.NA, pd.NaT, np.nan]
    expected = CODED[0].copy()
    expected[4:] = np.nan
    np.testing.assert_array_equal(schema.rows(values, 4), [expected])


def test_evidence_may_be_a_row_of_a_frame():
    frame = FRAMES["pandas"]()
    np.testing.assert_array_equal(Schema.of(frame).rows(frame.iloc[0], 4), CODED[:1])
    frame = FRAMES["polars"]()
    np.testing.assert_array_equal(Schema.of(frame).rows(frame.row(0), 4), CODED[:1])


def test_evidence_may_be_an_array_of_numbers():
    schema = Schema.of(pd.DataFrame({"a": [0.5], "b": [1]}))
    values = np.array([[0.25, np.nan], [np.nan, 3.0]])
    np.testing.assert_array_equal(schema.rows(values, 2), values)


@of_both
@pytest.mark.parametrize(
    ("evidence", "message"),
    [
        (
            {"colour": "green"},
            "held must hold categories .* column 'colour': 'blue', 'red'. Got",
        ),
        ({"grade": 3}, r"column 'grade': 'low', 'mid', 'high'\. Got 3 instead"),
        ({"grade": ["low"]}, r"Got \['low'\] instead"),
        ({"count": 1.5}, r"held must hold a whole number in column 'count'\. Got 1.5 instead"),
        ({"kept": 2}, r"held must hold a bool in column 'kept'\. Got 2 instead"),
        ({"size": "big"}, r"held must hold a finite number in column 'size'\. Got 'big' instead"),
        ({"size": np.inf}, r"a finite number in column 'size'\. Got inf instead"),
        ({"weight": 1}, r"(?s)held must name columns .*unseen at fit time:\n- weight\n"),
        ([1, 2], r"held must have shape \(7,\) or \(4, 7\)\. Got \(1, 2\) instead"),
        ([[None] * 7] * 3, r"held must have shape \(7,\) or \(4, 7\)\. Got \(3, 7\) instead"),
        ("red", r"held must have shape"),
        ([[1, 2], [1]], "held must"),
    ],
)
def test_wrong_evidence_is_told(kind, evidence, message):
    with pytest.raises(ValueError, match=message):
        Schema.of(FRAMES[kind]()).rows(evidence, 4, "held")


@of_both
def test_wrong_frames_of_evidence_are_told(kind):
    frame = FRAMES[kind]()
    schema = Schema.of(frame)
    with pytest.raises(ValueError, match=r"evidence must have shape \(7,\) or \(2, 7\)"):
        schema.rows(frame, 2)
    with pytest.raises(ValueError, match=r"column 'colour': 'blue', 'red'\. Got 'green' in row"):
        schema.rows(replaced(frame, "colour", ["red", "green", None]), 3)
