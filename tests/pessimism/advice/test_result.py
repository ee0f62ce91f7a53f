"""Advice as a value: equal, pickled, as JSON, in a notebook."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pandas as pd

import pessimism as ps
from pessimism.advice.result import records
from tests.pessimism.diagnosis.logs import log_of

LOG = log_of(*([1.0] * k + [0.0] * (8 - k) for k in (1, 1, 2, 3, 4, 4, 5, 6, 7, 7, 0)))


def advice(beta: float = 1.0) -> ps.Advice:
    return ps.advise(LOG, objective=f"kimi:beta={beta}", candidates=["nominal", "reinforce"], kl_per_step=1e-2)


def test_advice_is_equal_to_its_copies_alone() -> None:
    found = advice()
    assert pickle.loads(pickle.dumps(found)) == found == copy.deepcopy(found)
    assert advice() == found
    assert advice(0.9) != found


def test_json_has_all_of_it_and_no_nan() -> None:
    found = advice()
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["verdict"]["word"] == found.report.summary["verdict"]["word"]
    assert told["candidates"][0]["kl"] == found.candidates["kl"][0]
    assert told["candidates"][2]["kl"] is None
    assert len(told["bands"]) == len(found.bands) == 6
    assert told["lag"][1]["age"] == 4
    assert told["least"][0] == {
        "drop_equal": False,
        "change": "none",
        "setting": None,
        "negative": 0.0,
        "holds": True,
        "note": None,
    }
    assert set(told["sources"]) == {"verdict", "recommendation", "candidates", "bands", "least", "lag"}
    assert told["sources"]["least"].startswith("population at n = 8")
    assert {habit["name"] for habit in told["habits"]} == {habit.name for habit in found.habits}


def test_records_are_plain() -> None:
    rows = records(pd.DataFrame({"a": [1, 2], "b": [np.inf, np.nan], "c": [True, False], "d": ["x", np.nan]}))
    assert rows[0] == {"a": 1, "b": 1.7976931348623157e308, "c": True, "d": "x"}
    assert rows[1] == {"a": 2, "b": None, "c": False, "d": None}


def test_advice_shows_itself() -> None:
    found = advice()
    assert repr(found) == "Advice(kimi:beta=1, nominal, 2 candidates)"
    assert str(found) == found.text
    html = found._repr_html_()
    assert html.count("<tr>") >= 3
    assert "nominal:beta=" in html
