"""The guide's recipes for other engines: on their own, and by the engine where it installs."""

import os
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from common import run_python

from fastar import NADE

GUIDE = Path(__file__).parent.parent / "docs" / "guide" / "large_data.md"
FRAME = pd.DataFrame({"colour": ["red", "green"] * 20, "size": np.arange(40) % 7 / 2})


def recipe(word):
    """Return the code of the guide that has a word."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)
    (code,) = (each for each in blocks if word in each)
    return code


def defined(word, **names):
    exec(compile(recipe(word), str(GUIDE), "exec"), names)
    return names


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "model.fastar"
    model = NADE(n_hidden=4, learning_rate="cosine", max_iter=2, random_state=0).fit(FRAME)
    model.save(path)
    return str(path), model.score_samples(FRAME)


def test_the_class_for_ray_adds_scores(saved):
    path, expected = saved
    found = defined("class Scores")["Scores"](path)(FRAME.copy())
    np.testing.assert_array_equal(found["log_density"], expected)


def test_the_function_for_spark_adds_scores(saved):
    pa = pytest.importorskip("pyarrow")
    path, expected = saved
    names = defined("mapInArrow", pa=pa)
    batch = pa.RecordBatch.from_pandas(FRAME, preserve_index=False)
    (found,) = names["scores_of_batches"](path)(iter([batch]))
    np.testing.assert_array_equal(found["log_density"], expected)
    assert found.schema.names == ["colour", "size", "log_density"]


# an engine starts processes of its own, and says what it likes
START = """
import warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd, pyarrow as pa
frame = pd.DataFrame({"colour": ["red", "green"] * 20, "size": np.arange(40) % 7 / 2})
"""


@pytest.mark.skipif("FASTAR_TEST_ENGINES" not in os.environ, reason="FASTAR_TEST_ENGINES is unset")
def test_ray_scores(saved):
    pytest.importorskip("ray")
    path, expected = saved
    code = f"""
    import ray
    ray.init(num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False)
    found = score_with_ray(ray.data.from_pandas(frame), {path!r}, n_actors=1).to_pandas()
    print(found["log_density"].sum())
    ray.shutdown()
    """
    printed = run_python(START + recipe("class Scores") + textwrap.dedent(code), timeout=300)
    assert float(printed.split()[-1]) == pytest.approx(expected.sum())


@pytest.mark.skipif("FASTAR_TEST_ENGINES" not in os.environ, reason="FASTAR_TEST_ENGINES is unset")
def test_spark_scores_and_samples(saved):
    pytest.importorskip("pyspark")
    path, expected = saved
    code = f"""
    from pyspark.sql import SparkSession
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()
    found = score_with_spark(spark.createDataFrame(frame), {path!r}).toPandas()
    drawn = sample_with_spark(spark, {path!r}, 100, 4, "colour string, size double").toPandas()
    print(found["log_density"].sum(), len(drawn), *sorted(drawn["colour"].unique()))
    spark.stop()
    """
    env = {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    printed = run_python(START + recipe("mapInArrow") + textwrap.dedent(code), timeout=300, **env)
    *_, total, n, green, red = printed.split()
    assert float(total) == pytest.approx(expected.sum())
    assert (n, green, red) == ("100", "green", "red")
