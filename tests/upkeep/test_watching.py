"""Dashboard and alerts ask for metrics that exist, by labels that these have, and say what they show."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import apviso.server.metrics as all_metrics
from tests.upkeep.sources import ROOT, read

DASHBOARD = "deploy/grafana/apviso.json"
ALERTS = "deploy/prometheus/alerts.yml"
NAME = re.compile(r"\b(?:apviso|process|python)_\w+")
SELECTOR = re.compile(r"\b(?P<name>(?:apviso|process|python)_\w+)\{(?P<labels>[^}]*)\}")
GROUPING = re.compile(r"\bby \((?P<labels>[^)]*)\)")
# Given by whoever scrapes.
FROM_OUTSIDE = {"job", "instance"}


def known_series() -> dict[str, set[str]]:
    """Labels by the name of each series that `/metrics` may have."""
    found: dict[str, set[str]] = {}
    for collector in REGISTRY._collector_to_names:
        describe = getattr(collector, "describe", collector.collect)
        for metric in describe():
            labels = {*getattr(metric, "_labelnames", ()), *getattr(collector, "_labelnames", ())}
            for ending in ENDINGS.get(metric.type, ("",)):
                found[metric.name + ending] = labels | ({"le"} if ending == "_bucket" else set())
    return found


ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}
SERIES = known_series()


def mistakes(query: str) -> Iterator[str]:
    """Names and labels of a query that nothing has."""
    yield from (f"no metric {name}" for name in NAME.findall(query) if name not in SERIES)
    for found in SELECTOR.finditer(query):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", found["labels"]))
        yield from (f"no label {label} of {found['name']}" for label in labels - SERIES.get(found["name"], labels) - FROM_OUTSIDE)
    there = FROM_OUTSIDE.union(*(SERIES.get(name, set()) for name in NAME.findall(query)))
    for found in GROUPING.finditer(query):
        yield from (f"no label {label}" for label in re.split(r",\s*", found["labels"]) if label not in there)
    yield from ("unbalanced" for pair in ("()", "{}") if query.count(pair[0]) != query.count(pair[1]))


def dashboard() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(read(DASHBOARD))
    return told


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(read(ALERTS))["groups"] for rule in group["rules"]]


def queries() -> Iterator[str]:
    yield from (target["expr"] for panel in panels() for target in panel["targets"])
    yield from (rule["expr"] for rule in rules())


def test_queries_of_dashboard_and_alerts_ask_for_what_exists() -> None:
    found = {query: list(mistakes(query)) for query in queries()}

    assert {query: what for query, what in found.items() if what} == {}
    assert len(found) > 50


def test_metrics_of_our_own_are_all_on_the_dashboard() -> None:
    shown = {name for query in queries() for name in NAME.findall(query)} | set(NAME.findall(json.dumps(dashboard()["templating"])))

    families = {metric.name for metric in REGISTRY.collect() if metric.name.startswith("apviso_")} | {
        metric.name for metric in all_metrics.FLEET.describe()
    }
    assert {family for family in families if not any(name.startswith(family) for name in shown)} == set()


def test_panels_all_have_unit_description_and_the_chosen_datasource() -> None:
    for panel in panels():
        assert panel["description"].strip(), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]
        assert {one["datasource"]["uid"] for one in [panel, *panel["targets"]]} == {"${datasource}"}, panel["title"]


def test_panels_have_places_and_identities_of_their_own() -> None:
    told = dashboard()

    ids = [panel["id"] for panel in told["panels"]]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in told["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(set(ids)) == len(ids)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_variables_of_the_queries_are_those_of_the_dashboard() -> None:
    variables = {variable["name"]: variable["type"] for variable in dashboard()["templating"]["list"]}

    used = {name for query in queries() for name in re.findall(r"\$(\w+)", query)} - {"__rate_interval"}

    assert used <= set(variables)
    assert variables["datasource"] == "datasource"


def test_alerts_all_have_severity_words_and_a_row_in_the_guide() -> None:
    named = re.findall(r"^\| `(Apviso\w+)` \|", read("docs/how-to/watch-the-server.md"), re.MULTILINE)

    assert [rule["alert"] for rule in rules()] == named
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
        assert rule["annotations"]["summary"].strip(), rule["alert"]
        assert rule["annotations"]["description"].strip(), rule["alert"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("apviso_claim_total", "no metric apviso_claim_total"),
        ("apviso_claim_wait_seconds", "no metric apviso_claim_wait_seconds"),
        ('apviso_claims_total{reason="job"}', "no label reason of apviso_claims_total"),
        ("sum by (state) (apviso_runners)", "no label state"),
        ("sum(apviso_runners", "unbalanced"),
    ],
)
def test_query_for_what_does_not_exist_is_found(query: str, problem: str) -> None:
    assert list(mistakes(query)) == [problem]


def test_dashboard_file_is_where_the_guide_says() -> None:
    assert (ROOT / DASHBOARD).name in read("docs/how-to/watch-the-server.md")
