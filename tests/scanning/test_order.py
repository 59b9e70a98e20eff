from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from apviso.scanning.order import ScanOrder
from tests.scanning.orders import order_for


def test_order_travels_as_one_camel_case_line_and_back() -> None:
    order = order_for("http://127.0.0.1:8911/")

    line = order.model_dump_json(by_alias=True)

    assert "\n" not in line
    assert {"scanId", "modelPreset", "isRetest", "retestFindings", "proxyUrl", "workDir", "scannersDir"} <= set(json.loads(line))
    assert ScanOrder.model_validate_json(line) == order


@pytest.mark.parametrize("missing", ["scanId", "attempt", "modelPreset", "target", "limits", "proxyUrl", "workDir", "scannersDir"])
def test_order_without_a_needed_part_is_invalid(missing: str) -> None:
    told = json.loads(order_for("http://127.0.0.1:8911/").model_dump_json(by_alias=True))
    del told[missing]

    with pytest.raises(ValidationError):
        ScanOrder.model_validate(told)
