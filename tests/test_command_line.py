"""The command `fastar`: what it writes is what the library answers, and errors name the place."""

import csv
import io
import json
import os
import stat
import subprocess
import sys
import time
from importlib.metadata import entry_points

import numpy as np
import polars as pl
import pytest

import fastar
from fastar._data.frame_types import is_missing
from fastar.cli import main
from fastar.cli._sources import Source, TableError
from fastar.cli._tables import read_table, write_table

NAMES = ["id", "colour", "size", "weight", "even"]
QUICK = ["--drop", "id", "--random-state", "0", "--set", "n_hidden=8", "learning_rate_init=0.02"]
PROGRAM = "import sys; from fastar.cli import main; sys.exit(main())"


def rows(n=300, seed=0):
    """Return cells: the weight follows from the size, evenness from the colour."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        size, colour = int(rng.integers(1, 6)), str(rng.choice(["red", "green", "blue"]))
        weight = "" if rng.random() < 0.1 else f"{2 * size + rng.normal():.3f}"
        found.append([str(i), colour, str(size), weight, str(colour == "red").lower()])
    return found


def write(path, cells, names=NAMES, separator=","):
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter=separator, lineterminator="\n").writerows([names, *cells])
    return str(path)


def process(*arguments, given=b""):
    """Return what a process of its own writes."""
    return subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", PROGRAM, *map(str, arguments)],
        input=given,
        capture_output=True,
        timeout=120,
    )


def done(*arguments, given=b""):
    """Return the table that a process writes to standard output."""
    ended = process(*arguments, given=given)
    assert ended.returncode == 0, ended.stderr.decode()
    return pl.read_csv(io.BytesIO(ended.stdout)) if ended.stdout else None


def refused(capsys, *arguments):
    """Return the line that tells an error."""
    assert main(list(map(str, arguments))) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("fastar: error: ")
    assert told.err.count("\n") == 1
    return told.err.removeprefix("fastar: error: ").rstrip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a table, a model of it and a detector."""
    folder = tmp_path_factory.mktemp("tables")
    write(folder / "data.csv", rows())
    assert done("fit", folder / "data.csv", "-o", folder / "model", *QUICK) is None
    assert (
        main(["fit", f"{folder}/data.csv", "-o", f"{folder}/detector", "--detector", *QUICK]) == 0
    )
    assert main(["fit", f"{folder}/data.csv", "-o", f"{folder}/given", *QUICK,
                 "--target-columns", "colour,weight"]) == 0  # fmt: skip
    return folder


# ---- what it writes


def test_the_command_is_installed():
    (found,) = entry_points(group="console_scripts", name="fastar")
    assert found.load() is main


def test_scores_are_those_of_the_library(folder):
    table = pl.read_csv(folder / "data.csv").drop("id")
    expected = fastar.load(folder / "model").score_samples(table)
    found = done("score", folder / "model", folder / "data.csv")
    np.testing.assert_array_equal(found["log_density"].to_numpy(), expected)


def test_standard_input_parquet_and_other_columns_change_nothing(folder, tmp_path):
    table = pl.read_csv(folder / "data.csv")
    expected = done("score", folder / "model", "-", given=(folder / "data.csv").read_bytes())
    table.select(reversed(table.columns)).with_columns(more=pl.lit("x")).write_parquet(
        tmp_path / "table"
    )
    again = tmp_path / "again.parquet"
    assert main(["score", f"{folder}/model", f"{tmp_path}/table", "-o", str(again)]) == 0
    assert pl.read_parquet(again).equals(expected)


def test_parquet_is_read_and_written_batch_by_batch(folder, tmp_path):
    table, model = tmp_path / "table.parquet", tmp_path / "model"
    pl.read_csv(folder / "data.csv").write_parquet(table)
    assert main(["fit", "--stream", str(table), "-o", str(model), *QUICK]) == 0
    names = [name for name in NAMES if name != "id"]
    kept = pl.read_parquet(table).select(names)
    fitted = fastar.load(model)
    assert list(fitted.feature_names_in_) == names
    out = tmp_path / "out.parquet"
    assert main(["score", "--stream", str(model), str(table), "-o", str(out)]) == 0
    scores = fitted.score_samples(kept)
    np.testing.assert_array_equal(pl.read_parquet(out)["log_density"].to_numpy(), scores)
    asked = [str(model), "-n", "20", "-o", str(out), "--given", "colour=red"]
    assert main(["sample", "--stream", *asked]) == 0
    assert pl.read_parquet(out)["colour"].to_list() == ["red"] * 20
    assert main(["impute", "--stream", str(model), str(table), "-o", str(out)]) == 0
    assert pl.read_parquet(out).schema == kept.schema


def test_a_context_is_read_batch_by_batch(folder, tmp_path):
    table, model, out = (tmp_path / name for name in ("t.parquet", "model", "out.parquet"))
    names = [name for name in NAMES if name != "id"]
    read = pl.read_csv(folder / "data.csv")
    read.write_parquet(table)
    asked = ["--target-columns", ",".join(names[:2]), *QUICK]
    assert main(["fit", "--stream", str(table), "-o", str(model), *asked]) == 0
    fitted = fastar.load(model)
    assert list(fitted.feature_names_in_) == names[:2]
    assert main(["score", "--stream", str(model), str(table), "-o", str(out)]) == 0
    scores = fitted.score_samples(read[names[:2]], context=read[names[2:]])
    np.testing.assert_array_equal(pl.read_parquet(out)["log_density"].to_numpy(), scores)
    assert main(["impute", "--stream", str(model), str(table), "-o", str(out)]) == 0
    assert pl.read_parquet(out).columns == names[:2]
    assert main(["sample", "--stream", str(model), "--context", str(table), "-o", str(out)]) == 0
    assert len(pl.read_parquet(out)) == len(read)


def test_what_streams_are_not(capsys, folder, tmp_path):
    table, model = tmp_path / "table.parquet", folder / "model"
    pl.read_csv(folder / "data.csv").write_parquet(table)
    told = refused(capsys, "fit", "--stream", folder / "data.csv", "-o", tmp_path / "m")
    assert told.startswith("--stream reads Parquet, which ")
    told = refused(capsys, "score", "--stream", model, table)
    assert told == "--stream writes Parquet: give a name in .parquet by --output."
    told = refused(
        capsys, "score", "--stream", "--append", model, table, "-o", tmp_path / "o.parquet"
    )
    assert told == "--stream takes no --append."
    table.write_bytes(b"PAR1 and nothing else that is like Parquet")
    told = refused(capsys, "fit", "--stream", table, "-o", tmp_path / "m")
    assert told.startswith(f"the table from '{table}' cannot be read as Parquet: ")


@pytest.mark.parametrize(
    "asked",
    [
        ["fit", "data.csv", "-o", "data.csv"],
        ["fit", "data.csv", "--validation", "other.csv", "-o", "other.csv"],
        ["score", "model", "data.csv", "-o", "data.csv"],
        ["score", "model", "data.csv", "--append", "-o", "data.csv"],
        ["score", "model", "data.csv", "-o", "model"],
        ["sample", "model", "-o", "model"],
        ["sample", "model", "--context", "other.csv", "-o", "other.csv"],
        ["impute", "model", "data.csv", "-o", "data.csv"],
        ["impute", "model", "data.csv", "-o", "link.csv"],
        ["outliers", "detector", "data.csv", "-o", "data.csv"],
        ["outliers", "detector", "data.csv", "--append", "-o", "data.csv"],
    ],
    ids=" ".join,
)
def test_an_output_never_takes_the_place_of_what_is_read(asked, folder, tmp_path, capsys):
    names = ("data.csv", "model", "detector")
    before = {name: (folder / name).read_bytes() for name in names}
    before["other.csv"] = before["data.csv"]
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.csv").symlink_to(tmp_path / "data.csv")
    paths = {*before, "link.csv"}
    assert main([str(tmp_path / each) if each in paths else each for each in asked]) == 1
    assert f"{asked[-1]} is the " in (told := capsys.readouterr().err)
    assert "give --output another name" in told
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_a_model_is_not_written_into_the_folder_that_it_is_fitted_to(tmp_path, capsys):
    table, model = tmp_path / "table", tmp_path / "table" / "model"
    table.mkdir()
    pl.DataFrame({"x": np.arange(20.0)}).write_parquet(table / "part.parquet")
    assert main(["fit", "--stream", str(table), "-o", str(model)]) == 1
    assert "is in the folder of the table" in capsys.readouterr().err
    assert not model.exists()


def test_durations_go_into_parquet_as_such(tmp_path):
    data, model, out = (tmp_path / name for name in ("data.parquet", "model", "drawn.parquet"))
    table = pl.DataFrame({"took": np.arange(40) * 10**6}).cast(pl.Duration("us"))
    table.write_parquet(data)
    assert main(["fit", str(data), "-o", str(model), "--set", "max_iter=2"]) == 0
    assert main(["sample", str(model), "-n", "3", "-o", str(out)]) == 0
    assert pl.read_parquet(out).schema == table.schema


def test_terms_by_column_sum_to_the_score_and_columns_can_be_kept(folder, tmp_path):
    model, data = str(folder / "model"), str(folder / "data.csv")
    terms, kept = tmp_path / "terms.csv", tmp_path / "kept.tsv"
    assert main(["score", model, data, "--by-column", "-o", str(terms)]) == 0
    assert main(["score", model, data, "--append", "-o", str(kept)]) == 0
    beside = pl.read_csv(kept, separator="\t")
    assert beside.columns == [*NAMES, "log_density"]
    sums = pl.read_csv(terms).sum_horizontal()
    np.testing.assert_allclose(sums, beside["log_density"], rtol=1e-6)


def test_samples_hold_what_is_given_and_are_the_same_again(folder):
    asked = ["sample", folder / "model", "-n", 50, "--random-state", 1, "--given"]
    drawn = done(*asked, "colour=red", "size=2")
    assert drawn.shape == (50, 4)
    assert set(drawn["colour"]) == {"red"}
    assert set(drawn["size"]) == {2}
    assert drawn["even"].mean() > 0.8
    assert done(*asked, "colour=red", "size=2").equals(drawn)


def test_imputation_keeps_what_is_there(folder, tmp_path):
    out = tmp_path / "full.csv"
    assert main(["impute", f"{folder}/model", f"{folder}/data.csv", "-o", str(out)]) == 0
    given, full = pl.read_csv(folder / "data.csv"), pl.read_csv(out)
    assert given["weight"].null_count() > 10
    assert full.null_count().sum_horizontal().item() == 0
    assert full.columns == NAMES
    there = given["weight"].is_not_null()
    assert full.filter(there).equals(given.filter(there))


def test_outliers_are_found_with_the_column_that_makes_them_so(folder, tmp_path):
    cells = rows(30, seed=1)
    cells[7][3] = "60"
    path = write(tmp_path / "new.csv", cells)
    found = done("outliers", folder / "detector", path, "--level", 0.02, "--append")
    assert (found["row"][0], found["column"][0], found["id"][0]) == (7, "weight", 7)
    assert (found["p_value"] <= 0.02).all()


def test_where_there_are_no_outliers_there_are_no_rows(folder, tmp_path, capsys):
    out = tmp_path / "none.csv"
    asked = ["outliers", f"{folder}/detector", f"{folder}/data.csv", "--level", "1e-9"]
    assert main([*asked, "-o", str(out)]) == 0
    assert out.read_text() == "row,p_value,score,column,column_share\n"
    assert "warning: No p-value is below" in capsys.readouterr().err


def test_probabilities_of_the_values_of_a_column_sum_to_one(folder, capsys):
    total = 0
    for colour in ("red", "green", "blue"):
        asked = ["ask", f"{folder}/model", f"colour={colour}", "--given", "size=2"]
        assert main([*asked, "--random-state", "0"]) == 0
        total += np.exp(float(capsys.readouterr().out))
    assert 0.97 < total <= 1.001  # the rest is for colours that were not seen


def test_questions_hold_sets_and_intervals(folder, capsys):
    model = fastar.load(folder / "model")

    def answer(*asked):
        assert main(["ask", f"{folder}/model", *asked, "--random-state", "0"]) == 0
        return float(capsys.readouterr().out)

    questions = {
        ("colour={red, blue}",): {"colour": {"red", "blue"}},
        ("size=1..3",): {"size": (1, 3)},
        ("size=..3", "weight=0..", "even=true"): {
            "size": (None, 3), "weight": (0, None), "even": True
        },
        ("size={1,2}",): {"size": {1, 2}},
        ("colour={}",): {"colour": set()},
    }  # fmt: skip
    for asked, evidence in questions.items():
        expected = model.log_probability(evidence, n_particles=1024, random_state=0)[0]
        assert answer(*asked) == pytest.approx(expected, rel=1e-5)
    given = ["--given", "size=1..3"]
    total = sum(np.exp(answer(f"colour={each}", *given)) for each in ("{red,blue}", "green"))
    assert 0.9 < total < 1.1
    drawn = done("sample", folder / "model", "-n", 50, "--given", "size=1..3", "colour={red,green}")
    assert set(drawn["size"]) <= {1, 2}
    assert set(drawn["colour"]) <= {"red", "green"}


def test_a_text_that_is_a_category_is_that_one(tmp_path, capsys):
    data, model = str(tmp_path / "data.csv"), str(tmp_path / "model")
    pl.DataFrame({"k": ["{a,b}", "1..2", "c", "a,b"] * 20}).write_csv(data)
    assert main(["fit", data, "-o", model, "--set", "max_iter=2"]) == 0
    capsys.readouterr()
    for text in ("k={a,b}", "k=1..2", 'k={"a,b"}', "k={1..2}"):
        assert main(["ask", model, text]) == 0
        assert float(capsys.readouterr().out) == pytest.approx(np.log(0.25), abs=0.5)
    for text in ("k=c..d", "k={d}"):
        assert main(["ask", model, text]) == 1
        assert "must hold categories that were seen in fit" in capsys.readouterr().err


def test_the_other_columns_are_a_context(folder, tmp_path):
    table = pl.read_csv(folder / "data.csv")
    model = fastar.load(folder / "given")
    X, context = table.select("colour", "weight"), table.select("size", "even")
    out = tmp_path / "scores.parquet"
    assert main(["score", f"{folder}/given", f"{folder}/data.csv", "-o", str(out)]) == 0
    expected = model.score_samples(X, context=context)
    np.testing.assert_array_equal(pl.read_parquet(out)["log_density"].to_numpy(), expected)
    drawn = tmp_path / "drawn.csv"
    asked = ["sample", f"{folder}/given", "--context", f"{folder}/data.csv", "-o", str(drawn)]
    assert main(asked) == 0
    assert pl.read_csv(drawn).shape == (300, 2)


def test_a_model_says_what_it_is(folder, capsys):
    assert main(["info", f"{folder}/given", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == "NADE"
    assert told["context"] == "size, even"
    assert told["columns"][0] == {"name": "colour", "holds": "one of 3 categories"}
    assert main(["info", f"{folder}/detector"]) == 0
    assert "weight  float, or nothing" in capsys.readouterr().out


def test_training_ends_in_time_and_progress_is_no_output(folder, tmp_path):
    endless = ["tol=0", "n_iter_no_change=1000000", "max_iter=1000000"]
    out, start = tmp_path / "model", time.monotonic()
    held_out = write(tmp_path / "held_out.csv", rows(50, seed=2))
    asked = ["fit", f"{folder}/data.csv", "-o", str(out), *QUICK, *endless, "--max-time", "0.5"]
    assert main([*asked, "--validation", held_out]) == 0
    assert time.monotonic() - start < 20
    assert fastar.load(out).n_iter_ >= 1


def test_who_stops_reading_gets_no_error(folder):
    command = [sys.executable, "-P", "-c", PROGRAM, "sample", folder / "model", "-n", "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout.readline() == b"colour,size,weight,even\n"
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


SIGNATURES = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


def test_figures_are_drawn_by_a_process(folder, tmp_path):
    model, data = folder / "model", folder / "data.csv"
    asked = ["plot", model, "density", data, "--columns", "weight", "--rows", "0,4"]
    for form in ("pdf", "svg"):
        path = tmp_path / f"density.{form}"
        ended = process(*asked, "-o", path)
        assert (ended.returncode, ended.stderr, ended.stdout) == (0, b"", b"")
        assert path.read_bytes().startswith(SIGNATURES[form])
    assert process("plot", model, "loss", "-o", "-").stdout.startswith(SIGNATURES["png"])


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("model", ["loss"]),
        ("detector", ["loss"]),
        ("masked", ["masks"]),
        ("model", ["pairs", "--columns", "size,weight"]),
        ("model", ["density", "--columns", "colour"]),
        ("given", ["pairs"]),
        ("given", ["density", "--columns", "weight", "--rows", "2"]),
        ("detector", ["explanation", "--rows", "3"]),
        ("detector", ["calibration"]),
    ],
)
def test_every_figure_can_be_drawn(model, asked, folder, tmp_path, capsys):
    data = str(folder / "data.csv")
    if model == "masked":
        given = ["fit", data, "-o", f"{folder}/masked", "--model", "MADE", "--drop", "id", "-q"]
        assert main([*given, "--set", "max_iter=1"]) == 0
    name, *options = asked
    rows = [] if name in ("loss", "masks") else [data]
    path = tmp_path / "figure.PNG"
    assert main(["plot", f"{folder}/{model}", name, *rows, *options, "-o", str(path)]) == 0
    assert path.read_bytes().startswith(SIGNATURES["png"])
    assert capsys.readouterr().out == ""


def test_figures_that_cannot_be_drawn_are_refused(folder, tmp_path, capsys):
    model, data, path = folder / "model", folder / "data.csv", tmp_path / "figure.png"
    wrong = {
        "plot pairs needs DATA": ["pairs", "-o", path],
        "plot loss takes no DATA": ["loss", data, "-o", path],
        "plot loss takes no --rows": ["loss", "--rows", "1", "-o", path],
        "plot density needs one column": ["density", data, "-o", path],
        "plot explanation takes one row": ["explanation", data, "--rows", "1,2", "-o", path],
        "must end in .png, .pdf, .svg": ["loss", "-o", tmp_path / "figure.doc"],
        "which has no masks_": ["masks", "-o", path],
        "which has no p_values": ["calibration", data, "-o", path],
        "has no row 300, but 300": ["density", data, "--columns", "size", "--rows", "300",
                                    "-o", path],
        "there is no column 'length'": ["pairs", data, "--columns", "length", "-o", path],
    }  # fmt: skip
    for message, arguments in wrong.items():
        assert message in refused(capsys, "plot", model, *arguments)
    assert list(tmp_path.iterdir()) == []


# ---- errors


def change(row, column, cell):
    """Return a function that changes one cell of a table."""

    def changed(cells):
        cells[row][NAMES.index(column)] = cell
        return cells

    return changed


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            change(3, "size", "abc"),
            "column 'size' must hold whole numbers. Got 'abc' in row 3 (line 5) instead.",
        ),
        (
            change(4, "weight", "1.2.3"),
            "column 'weight' must hold numbers. Got '1.2.3' in row 4 (line 6) instead.",
        ),
        (
            change(0, "even", "perhaps"),
            "column 'even' must hold true and false, or 1 and 0. Got 'perhaps' in row 0 (line 2) "
            "instead.",
        ),
        (
            lambda cells: [*cells[:2], cells[2][:4], *cells[3:]],
            "row 2 (line 4) has 4 cells, where the header names 5 columns.",
        ),
        (
            lambda cells: [*cells[:2], [*cells[2], "1"], *cells[3:]],
            "row 2 (line 4) has 6 cells, where the header names 5 columns.",
        ),
        (lambda cells: [], "there are no rows."),
        (
            change(5, "weight", "inf"),
            "X must hold finite numbers in column 'weight'. Got inf in row 5 (line 7) instead.",
        ),
    ],
)
def test_errors_name_file_row_and_column(folder, tmp_path, capsys, changed, message):
    path = write(tmp_path / "new.csv", changed(rows(20, seed=3)))
    out = tmp_path / "scores.csv"
    told = refused(capsys, "score", folder / "model", path, "-o", out)
    assert told == f"{path}: {message}"
    assert not out.exists()


def test_a_line_is_counted_where_cells_have_several(tmp_path):
    path = write(tmp_path / "new.csv", [["a\nb", "1"], ["c", "x"]], ["text", "size"])
    with pytest.raises(TableError, match=r"'size' must hold numbers. Got 'x' in row 1 \(line 4\)"):
        read_table(Source.of(path, None), {"size": "float"})


def test_a_file_that_is_no_table_is_refused(folder, tmp_path, capsys):
    path = tmp_path / "table.csv"
    for content, message in [
        (b"", "it is empty."),
        (b"a,a\n1,2\n", "two columns have the name 'a'."),
        (b"\xff\xfe\x00\n", "it is neither Parquet nor text in UTF-8."),
        (b"PAR1 and no more", "polars cannot read it as Parquet: "),
        (
            b"id,size\n1,2\n",
            "there is no column 'colour', 'weight', 'even'. There are 'id', 'size'.",
        ),
    ]:
        path.write_bytes(content)
        told = refused(capsys, "score", folder / "model", path)
        assert told.startswith(f"{path}: {message}")


def test_what_cannot_be_done_is_said(folder, tmp_path, capsys):
    data, model, out = folder / "data.csv", folder / "model", tmp_path / "out"
    lacking, nowhere = tmp_path / "lacking", tmp_path / "nowhere"
    for asked, message in [
        (["score", model, lacking], f"{lacking}: No such file or directory"),
        (["score", data, data], f"The file '{data}' is damaged or not a fastar file"),
        (["fit", data, "-o", nowhere / "out"], f"{nowhere}: No such folder"),
        (["fit", data, "-o", out, "--set", "size=3"], "--set: NADE has no parameter 'size'."),
        (["fit", data, "-o", out, "--set", "n_hidden=0"], "The 'n_hidden' parameter of NADE must"),
        (["fit", data, "-o", out, "--types", "size=text"], "--types must be one of category,"),
        (["fit", data, "-o", out, "--types", "colour=float"],
         f"{data}: column 'colour' must hold numbers. Got '{rows(1)[0][1]}' in row 0 (line 2)"),
        (["fit", data, "-o", out, "--drop", "what"], f"{data}: there is no column 'what'."),
        (["sample", model, "--given", "what=1"], "There is no column 'what'."),
        (["sample", model, "--given", "size=2.5"], "evidence must hold a whole number in column"),
        (["sample", model, "--given", "colour=pink"], "evidence must hold categories that were"),
        (["sample", model, "--context", data], "This NADE was fitted without named context"),
        (["sample", folder / "given"], "The model is conditioned on 'size', 'even': give"),
        (["outliers", model, data], f"{model} holds a NADE. Outliers need a detector"),
        (["sample", folder / "detector"], f"{folder / 'detector'} holds a DensityOutlierDetector"),
        (["score", folder / "detector", data], f"{folder / 'detector'} holds a DensityOutlier"),
        (["ask", model, "size=2", "--given", "size=1"], "Column 'size' is asked for and given."),
        (["ask", model, "size=2", "size=1"], "the question must say size once. Got 'size=1'"),
    ]:  # fmt: skip
        assert refused(capsys, *asked).startswith(message)
    assert not out.exists()


def test_a_wrong_command_line_exits_with_2(folder, capsys):
    for asked, message in [
        (["fit", "data.csv"], "the following arguments are required: -o"),
        (["sample", "model", "-n", "0"], "argument -n: must be a whole number from 1 on."),
        (
            ["outliers", "model", "data.csv", "--level", "2"],
            "argument --level: must be more than 0",
        ),
        ([], "the following arguments are required: COMMAND"),
    ]:
        with pytest.raises(SystemExit, match="2"):
            main(asked)
        assert message in capsys.readouterr().err
    ended = process("score", folder / "model", folder / "lacking.csv")
    assert ended.returncode == 1
    assert ended.stderr.decode().splitlines() == [
        f"fastar: error: {folder / 'lacking.csv'}: No such file or directory"
    ]


def test_models_of_arrays_are_refused(tmp_path, capsys):
    X = np.random.default_rng(0).integers(0, 2, (50, 3))
    fastar.FVSBN(tol=10).fit(X).save(tmp_path / "model")
    told = refused(capsys, "sample", tmp_path / "model")
    assert "was not fitted to a table of named columns" in told


# ---- tables


def values(series):
    return [None if is_missing(each) else each for each in series.to_list()]


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_both_libraries_read_and_write_the_same(library, tmp_path):
    path = write(tmp_path / "t.csv", [["007", "1", "true", "x"], ["08", "", "", "NA"],
                                      ["1", "1152921504606846977", "false", '"']],
                 ["code", "big", "flag", ""])  # fmt: skip
    table = read_table(Source.of(path, None), {"code": "category"}, library)
    assert table["code"].to_list() == ["007", "08", "1"]
    assert values(table["big"]) == [1, None, 2**60 + 1]
    assert values(table["flag"]) == [True, None, False]
    assert values(table[""]) == ["x", None, '"']
    for name in ("t.parquet", "u.csv", "t.tsv"):
        write_table(table.to_native(), str(tmp_path / name))
        again = read_table(Source.of(str(tmp_path / name), None), {"code": "category"}, library)
        assert [*map(values, again.iter_columns())] == [*map(values, table.iter_columns())]
    assert (tmp_path / "u.csv").read_text().splitlines()[1] == "007,1,true,x"


@pytest.mark.parametrize("library", ["polars", "pandas"])
def test_rows_of_other_widths_are_found_by_both_libraries(library, tmp_path):
    for cells in (["1", "2", "3"], ["1"]):
        path = write(tmp_path / "t.csv", [["1", "2"], cells], ["a", "b"])
        with pytest.raises(TableError, match=rf"row 1 \(line 3\) has {len(cells)} cells, where"):
            read_table(Source.of(path, None), {}, library)


def test_types_are_what_the_user_says(tmp_path):
    path = write(tmp_path / "t.csv", [["1", "1", "0", "2.0"], ["2", "0", "1", "3.0"]], list("abcd"))
    types = {"a": "float", "b": "bool", "c": "category", "d": "integer"}
    table = read_table(Source.of(path, None), types)
    assert table.to_dict(as_series=False) == {
        "a": [1.0, 2.0],
        "b": [True, False],
        "c": ["0", "1"],
        "d": [2, 3],
    }


# ---- where it writes to, and reads from


def shell(line, *arguments):
    """Return (exit code, output, errors) of a line of shell, whose $0 runs the command."""
    program = "import sys; from fastar.cli import main; sys.exit(main(sys.argv[1:]))"
    line = f"fastar() {{ {sys.executable} -P -W error -c '{program}' \"$@\"; }}; {line}"
    ended = subprocess.run(
        ["sh", "-c", line, "sh", *map(str, arguments)], capture_output=True, timeout=120
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


needs_shell = pytest.mark.skipif(os.name != "posix", reason="needs a shell of POSIX")


@needs_shell
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('fastar score "$1" - <&-', "standard input: it is closed."),
        ('fastar score "$1" "$2" >&-', "standard output: It is closed"),
        ('fastar ask "$1" colour=red >&-', "standard output: It is closed"),
        ('fastar info "$1" >&-', "standard output: It is closed"),
    ],
)
def test_closed_streams_are_told_of(line, said, folder):
    code, out, err = shell(line, folder / "model", folder / "data.csv")
    assert (code, out, err) == (1, "", f"fastar: error: {said}\n")


@needs_shell
def test_what_standard_error_would_say_never_goes_into_the_output(folder, tmp_path):
    model, data = folder / "model", folder / "data.csv"
    said = shell('fastar score "$1" "$2"', model, data)[1]
    assert shell('fastar score "$1" "$2" 2>&-', model, data) == (0, said, "")
    line = 'fastar fit "$1" -o "$2" --set n_hidden=4 max_iter=1 2>&-'
    assert shell(line, data, tmp_path / "model") == (0, "", "")


@needs_shell
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
@pytest.mark.parametrize("asked", ["score $1 $2", "ask $1 colour=red", "info $1", "info --json $1"])
def test_a_full_disk_behind_standard_output_is_an_error(asked, folder):
    code, _, err = shell(f"fastar {asked} -q >/dev/full", folder / "model", folder / "data.csv")
    assert (code, err.splitlines()) == (1, [f"fastar: error: standard output: {os.strerror(28)}"])


@needs_shell
def test_pipes_stay_pipes_and_get_the_whole_output(folder, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    line = 'cat "$3" & fastar score "$1" "$2" -q -o "$3"; wait'
    model, data = folder / "model", folder / "data.csv"
    assert shell(line, model, data, pipe) == shell('fastar score -q "$1" "$2"', model, data)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_an_output_in_gz_is_packed_and_is_read_again(folder, tmp_path):
    for name in ("rows.csv.gz", "rows.tsv.gz", "rows.parquet.gz", "rows.csv"):
        path = str(tmp_path / name)
        assert main(["impute", f"{folder}/model", f"{folder}/data.csv", "-o", path]) == 0
        with open(path, "rb") as file:
            assert (file.read(2) == b"\x1f\x8b") == name.endswith(".gz")
        rows = read_table(Source.of(path, None)).to_native()
        assert rows.select("id").equals(pl.DataFrame({"id": range(300)}))


def test_the_score_of_outliers_is_the_statistic_of_the_detector(folder, tmp_path, capsys):
    detector = fastar.load(str(folder / "detector"))
    rows = pl.read_csv(f"{folder}/data.csv")
    found = done("outliers", folder / "detector", folder / "data.csv", "--level", 1)
    scores = detector.score_samples(rows.select(detector.feature_names_in_.tolist()))
    np.testing.assert_array_equal(found["score"].to_numpy(), np.sort(scores))
    assert main(["info", f"{folder}/detector"]) == 0
    assert "score:        standardised\n" in capsys.readouterr().out
