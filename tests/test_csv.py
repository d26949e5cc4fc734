"""Cells of CSV mean the same to every reader, and are what they look like only if all do."""

import gzip
import io
import os
import re
import sys
from datetime import UTC, date, datetime, time

import pandas as pd
import polars as pl
import pytest

from fastar._data.columns import column_type
from fastar._data.frame_types import is_missing
from fastar.cli import main
from fastar.cli._sources import Source, TableError
from fastar.cli._tables import read_table, write_table

pytestmark = pytest.mark.filterwarnings("error")

LIBRARIES = ["polars", "pandas"]


def column_of(library, path, cells, types=None, separator=None):
    """Return (type, values) of a first column of CSV, beside another one."""
    path.write_text("\n".join(["x,y", *(f"{cell},{k}" for k, cell in enumerate(cells))]) + "\n")
    series = read_table(Source.of(str(path), separator), types, library)["x"]
    values = [None if is_missing(each) else each for each in series.to_list()]
    return column_type(series), values


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("cells", "type_", "values"),
    [
        (["1", "", "-3"], "integer", [1, None, -3]),
        ([" 1", "+2 ", " NA"], "integer", [1, 2, None]),
        (["9223372036854775807", "1"], "integer", [2**63 - 1, 1]),
        (["18446744073709551615", "1"], "integer", [2**64 - 1, 1]),
        (["18446744073709551616", "1"], "category", ["18446744073709551616", "1"]),
        (["1.5", "2", ".5", "1e-3", "n/a"], "float", [1.5, 2.0, 0.5, 1e-3, None]),
        (["0.1234567890123456789", "4.35"], "float", [0.1234567890123456789, 4.35]),
        (["02139", "10001"], "category", ["02139", "10001"]),
        (["10001", "02139", ""], "category", ["10001", "02139", None]),
        (["0", "00"], "category", ["0", "00"]),
        (["0", "0.50", "-0.5"], "float", [0.0, 0.5, -0.5]),
        (["True", "FALSE", ""], "bool", [True, False, None]),
        (["yes", "no"], "category", ["yes", "no"]),
        (["01/02/2024", "03/04/2024"], "category", ["01/02/2024", "03/04/2024"]),
        (["31.12.2023", "01.02.2024"], "category", ["31.12.2023", "01.02.2024"]),
        (["2024-02-30", "2024-01-01"], "category", ["2024-02-30", "2024-01-01"]),
        (["09:30", "", "23:59:59.5"], "time", [time(9, 30), None, time(23, 59, 59, 500_000)]),
        (["9:30", "10:00"], "category", ["9:30", "10:00"]),
        (["$10", "20%"], "category", ["$10", "20%"]),
        (["a b", " a"], "category", ["a b", " a"]),
    ],
)
def test_cells_are_what_all_of_them_look_like(library, cells, type_, values, tmp_path):
    assert column_of(library, tmp_path / "t.csv", cells) == (type_, values)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("cells", "moments"),
    [
        (["1677-01-01", "", "2262-12-31"], [datetime(1677, 1, 1), None, datetime(2262, 12, 31)]),
        (["2024-05-31", "2024-06-01 09:30"], [datetime(2024, 5, 31), datetime(2024, 6, 1, 9, 30)]),
        (
            ["2024-05-31T09:30:00Z", "2024-05-31 09:30:00+02:00"],
            [datetime(2024, 5, 31, hour, 30, tzinfo=UTC) for hour in (9, 7)],
        ),
    ],
)
def test_dates_and_times_of_iso_8601_are_moments(library, cells, moments, tmp_path):
    type_, values = column_of(library, tmp_path / "t.csv", cells)
    assert type_ == "moment"
    days = [datetime(*each.timetuple()[:3]) if type(each) is date else each for each in values]
    assert days == moments


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(
    ("cells", "wanted", "values"),
    [
        (["007", "", "2.0"], "integer", [7, None, 2]),
        (["1", "", "0"], "integer", [1, None, 0]),
        (["true", "", "0"], "bool", [True, None, False]),
        (["1", "", "2"], "category", ["1", None, "2"]),
        (["1", "NA", "2.5x"], "category", ["1", None, "2.5x"]),
    ],
)
def test_gaps_stay_gaps_in_the_type_that_is_wanted(library, cells, wanted, values, tmp_path):
    assert column_of(library, tmp_path / "t.csv", cells, {"x": wanted})[1] == values


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("cell", ["18446744073709551616", "1.5", "-9223372036854775809", "1,5"])
def test_what_is_no_whole_number_is_told(library, cell, tmp_path):
    with pytest.raises(TableError, match=rf"must hold whole numbers. Got '?{cell}'? in row 1 \("):
        column_of(library, tmp_path / "t.csv", ["1", f'"{cell}"'], {"x": "integer"})


PLAIN = "name,size\nà,1.5\nb,2\n"
WRITTEN = {
    "BOM": ("\ufeff" + PLAIN).encode(),
    "Windows": PLAIN.replace("\n", "\r\n").encode(),
    "old Macintosh": PLAIN.replace("\n", "\r").encode(),
    "blank lines": PLAIN.replace("\n", "\n\n").encode(),
    "quotes": PLAIN.replace("à", '"à"').replace("2", '"2"').encode(),
    "semicolons": PLAIN.replace(",", ";").replace(".", ",").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "bars": PLAIN.replace(",", "|").encode(),
    "gzip": gzip.compress(PLAIN.encode()),
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("kind", WRITTEN)
def test_files_of_other_programs_are_the_same_table(library, kind, tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_bytes(WRITTEN[kind])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(WRITTEN[kind])))
    for name in (str(path), "-"):
        table = read_table(Source.of(name, None), {}, library)
        assert table.to_dict(as_series=False) == {"name": ["à", "b"], "size": [1.5, 2.0]}


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_written_is_read_again(library, tmp_path):
    """Also a gap in a table of one column, which would be a blank line."""
    path = str(tmp_path / "t.csv")
    for cells in (["1", "", "3"], ["09:30", "", "10:00:00.5"], ["02139", "", "x"]):
        type_, values = column_of(library, tmp_path / "t.csv", cells)
        table = read_table(Source.of(path, None), {}, library)
        for kept in (["x"], ["x", "y"]):
            write_table(table.select(kept).to_native(), path)
            again = read_table(Source.of(path, None), {}, library)["x"]
            assert column_type(again) == type_
            assert [None if is_missing(each) else each for each in again.to_list()] == values


@pytest.mark.parametrize("library", LIBRARIES)
def test_broken_files_are_told(library, tmp_path):
    path = tmp_path / "t.csv.gz"
    for content, told in [
        (gzip.compress(PLAIN.encode())[:-12], "it is no whole file of gzip"),
        (PLAIN.encode("utf-16"), "nor text in UTF-8. Save it as"),
        (b"x;y\n1;2;3\n", r"row 0 \(line 2\) has 3 cells, where the header names 2 columns"),
    ]:
        path.write_bytes(content)
        with pytest.raises(TableError, match=f"^{re.escape(str(path))}: .*{told}"):
            read_table(Source.of(str(path), None), {}, library)


def test_codes_with_zeros_stay_codes_from_fit_to_samples(tmp_path, capsys):
    path, out = str(tmp_path / "t.csv"), str(tmp_path / "m.fastar")
    rows = [f"{zip_};{k % 5},5" for k, zip_ in enumerate(["02139", "10001", "02140"] * 20)]
    (tmp_path / "t.csv").write_text("\n".join(["zip;size", *rows]))
    assert main(["fit", path, "-o", out, "-q", "--set", "max_iter=1", "n_hidden=2"]) == 0
    assert main(["sample", out, "-n", "40", "--random-state", "0"]) == 0
    drawn = pl.read_csv(io.StringIO(capsys.readouterr().out), infer_schema_length=0)
    assert set(drawn["zip"]) == {"02139", "10001", "02140"}
    assert {each.partition(".")[2] for each in drawn["size"]} == {"5"}
    (tmp_path / "new.csv").write_text("zip,size\n10001,1.5\n")  # digits alone, here
    assert main(["score", out, str(tmp_path / "new.csv"), "-q"]) == 0
    assert float(capsys.readouterr().out.split()[1]) < 0
    assert main(["ask", out, "zip={02139,02140}", "-q"]) == 0
    assert float(capsys.readouterr().out) < 0


def test_a_table_is_written_whole_or_not_at_all(tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("before")
    with pytest.raises(pl.exceptions.ComputeError, match="nested"):
        write_table(pl.DataFrame({"a": [[1]]}), str(out))
    assert out.read_text() == "before"
    assert os.listdir(tmp_path) == ["out.csv"]
    write_table(pd.DataFrame({"a": [True]}), str(out))
    assert out.read_text() == "a\ntrue\n"


@pytest.mark.parametrize("library", LIBRARIES)
def test_dates_in_csv_are_dates_unless_the_user_says_otherwise(tmp_path, library):
    path = str(tmp_path / "table.csv")
    with open(path, "w", encoding="utf-8") as file:
        file.write("when,day,text\n2024-05-31T09:30:00,2024-05-31,2024-05-31\n,2024-06-01,soon\n")
    table = read_table(Source.of(path, None), {}, library)
    assert [column_type(table[name]) for name in table.columns] == ["moment", "moment", "category"]
    assert table["when"].null_count() == 1
    said = read_table(Source.of(path, None), {"day": "category"}, library)
    assert column_type(said["day"]) == "category"
    with pytest.raises(TableError, match=r"column 'text' must hold dates.*Got 'soon' in row 1"):
        read_table(Source.of(path, None), {"text": "moment"}, library)


def test_models_of_dates_are_asked_in_words(tmp_path, capsys):
    path, out = str(tmp_path / "table.csv"), str(tmp_path / "model.fastar")
    with open(path, "w", encoding="utf-8") as file:
        file.write("when,y\n" + "".join(f"2024-05-{1 + k % 30:02}T09:30,{k}\n" for k in range(60)))
    assert main(["fit", path, "-o", out, "-q", "--set", "max_iter=1", "n_hidden=2"]) == 0
    assert main(["sample", out, "-n", "2", "--given", "when=2024-05-31T09:30"]) == 0
    assert capsys.readouterr().out.count("2024-05-31T09:30:00") == 2
    assert main(["ask", out, "when=2024-05-31"]) == 0
    assert float(capsys.readouterr().out) < 0
