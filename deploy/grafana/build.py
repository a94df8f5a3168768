#!/usr/bin/python3
"""Writes the dashboards, so that a panel is one line and all panels look alike.

    deploy/grafana/build.py           writes dashboards/*.json
    deploy/grafana/build.py --check   fails when they are stale

tests/deploy.py holds every query against docs/metrics.md and against a real Prometheus with a simulated incident in it.
"""
import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Colours beside words: a threshold also shows as a line.
GOOD, WARN, BAD = "green", "orange", "red"


def steps(*pairs):
    """Thresholds: (from which value on, colour), the first without a value."""
    return {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in pairs]}


NONE = steps((None, GOOD))
GOODPUT = steps((None, BAD), (0.5, WARN), (0.95, GOOD))
HITS = steps((None, WARN), (0.95, GOOD))
FEW = steps((None, GOOD), (0.01, WARN), (0.05, BAD))
RETRIES = steps((None, GOOD), (0.1, WARN), (0.2, BAD))
SECONDS = steps((None, GOOD), (0.5, WARN), (1, BAD))
ORIGIN_SECONDS = steps((None, GOOD), (0.1, WARN), (0.5, BAD))
LEVEL = steps((None, GOOD), (1, WARN), (3, BAD))
BREAKER = steps((None, GOOD), (0.5, WARN), (1.5, BAD))
FULL = steps((None, GOOD), (0.8, WARN), (0.95, BAD))
ANY = steps((None, GOOD), (1, BAD))
HALF = steps((None, GOOD), (0.5, BAD))
STRAIN = steps((None, GOOD), (3, BAD))
ADMITTED = steps((None, BAD), (0.5, WARN), (0.9, GOOD))


def panel(title, unit, queries, thresholds=NONE, kind="timeseries", about="", stack=False, top=None):
    return {"title": title, "unit": unit, "queries": queries if isinstance(queries, list) else [queries],
            "thresholds": thresholds, "kind": kind, "about": about, "stack": stack, "max": top}


def stat(title, unit, query, thresholds=NONE, about=""):
    return panel(title, unit, (query, ""), thresholds, "stat", about)


C = '{component=~"$component"}'
CI = '{component=~"$component",instance=~"$instance"}'
LIVE = "{{component}}"
TIER = "{{component}} {{tier}}"

OVERVIEW = [
    stat("Right answers in time", "percentunit", f"min(seawall:goodput:ratio1m{C})", GOODPUT, "The worst of the chosen components."),
    stat("Calls", "reqps", f"sum(seawall:requests:rate1m{C})"),
    stat("99th percentile", "s", f"max(seawall:request_duration:p99{C})", SECONDS),
    stat("Look-ups that hit", "percentunit", f"min(seawall:cache_hits:ratio1m{C})", HITS, "95% is the aim in normal operation."),
    stat("Breakers", "none", f"max(seawall:breaker_state:avg{C})", BREAKER, "0 closed, 1 half open, 2 open; the mean over instances."),
    stat("Alerts firing", "none", 'count(ALERTS{alertstate="firing",severity=~"P0|P1"}) or vector(0)', ANY, "P0 and P1."),
    panel("Calls by outcome", "reqps", (f"sum by (outcome) (rate(requests_total{C}[1m]))", "{{outcome}}"), stack=True,
          about="fresh and stale are right answers; shed was turned away on purpose."),
    panel("Right answers in time", "percentunit", (f"seawall:goodput:ratio1m{C}", LIVE), GOODPUT, top=1),
    panel("99th percentile", "s", (f"seawall:request_duration:p99{C}", LIVE), SECONDS),
    panel("Look-ups that hit", "percentunit", (f"seawall:cache_hits:ratio1m{C}", TIER), HITS, top=1,
          about="Empty while a breaker keeps everybody from asking."),
    panel("Calls to the origin", "reqps", (f"seawall:origin_requests:rate1m{C}", LIVE)),
    panel("Turned away on purpose", "percentunit", (f"seawall:shed:ratio1m{C}", LIVE), FEW),
    panel("Firing alerts", "none", ('ALERTS{alertstate="firing"}', ""), kind="table"),
]
CACHE = [
    panel("Look-ups that hit", "percentunit", (f"seawall:cache_hits:ratio1m{C}", TIER), HITS, top=1),
    panel("Look-ups that fail", "percentunit", (f"seawall:cache_errors:ratio1m{C}", TIER), steps((None, GOOD), (0.01, WARN), (0.5, BAD))),
    panel("Look-ups", "reqps", [(f"sum by (component) (rate(cache_hits_total{C}[1m]))", "{{component}} hits"),
                                (f"sum by (component) (rate(cache_misses_total{C}[1m]))", "{{component}} misses"),
                                (f"sum by (component) (rate(cache_errors_total{C}[1m]))", "{{component}} errors")], stack=True),
    panel("Errors by cause", "reqps", (f"sum by (component, reason) (rate(cache_errors_total{C}[1m])) > 0", "{{component}} {{reason}}"),
          about="timed_out and refused are the network or the node; the others are the server's own words."),
    panel("Entries", "short", (f'sum by (component, tier) (cache_entries{{component=~"$component",instance=""}}) '
                               f'or sum by (component, tier) (cache_entries{C})', TIER)),
    panel("Entries written", "reqps", (f"sum by (component, tier) (rate(cache_sets_total{C}[1m]))", TIER)),
    panel("Written entries that push one out", "percentunit", (f"seawall:cache_evictions:ratio1m{C}", TIER),
          about="Normal for a full LRU cache; trouble only when the hit rate falls too."),
    panel("Entries taken out", "reqps", (f"sum by (component) (rate(cache_invalidations_total{C}[1m]))", LIVE),
          about="By a purge, a write, a flush or the loss of a node."),
    panel("Misses that shared a load", "percentunit", (f"seawall:coalesced:ratio1m{C}", LIVE), top=1,
          about="In a stampede over 90% is the aim; in quiet times there is nothing to share."),
    panel("Loads for each entry filled", "none", ("seawall:fill_amplification:ratio1m", "all"), steps((None, GOOD), (1.5, WARN), (3, BAD)),
          about="1 in good times; more when loads fail, are repeated or are not kept."),
    panel("Entries filled by warming", "reqps", (f"sum by (component) (rate(warmed_total{C}[1m]))", LIVE)),
    panel("Redis memory", "percentunit", ("redis_memory_used_bytes / (redis_memory_max_bytes > 0)", "{{instance}}"), FULL, top=1,
          about="From redis_exporter. Full is normal with an LRU policy."),
    panel("Redis clients", "percentunit", ("redis_connected_clients / redis_config_maxclients", "{{instance}}"), FULL, top=1),
    panel("Redis evictions", "reqps", ("rate(redis_evicted_keys_total[1m])", "{{instance}}")),
]
ORIGIN = [
    panel("Calls to the origin", "reqps", (f"seawall:origin_requests:rate1m{C}", LIVE)),
    panel("99th percentile", "s", (f"seawall:origin_duration:p99{C}", LIVE), ORIGIN_SECONDS,
          about="Of calls that ended. An origin that answers nothing has none: see the stay."),
    panel("Stay by Little's law", "s", (f"seawall:origin_stay:mean1m{C}", LIVE), ORIGIN_SECONDS,
          about="What is inside, divided by what arrives."),
    panel("Times the usual", "none", (f"seawall:origin_strain:max{C}", LIVE), STRAIN, about="Only of calls that are long by any measure."),
    panel("Calls that fail", "percentunit", (f"seawall:origin_errors:ratio1m{C}", LIVE), FEW),
    panel("Work for callers who have left", "percentunit", ("seawall:origin_wasted:ratio1m", "all"), steps((None, GOOD), (0.05, WARN), (0.1, BAD))),
    panel("Calls inside", "short", (f"seawall:origin_in_flight:sum{C}", LIVE)),
    panel("Connections at work", "short", (f"sum by (component) (origin_connections_active{C})", LIVE)),
    panel("Line", "short", (f"seawall:queue_depth:sum{C}", LIVE)),
    panel("Part that waits", "percentunit", (f"seawall:queue:ratio{C}", LIVE), HALF, top=1),
    panel("Loads begun", "reqps", (f"sum by (component) (rate(loads_total{C}[1m]))", LIVE)),
    panel("Postgres connections", "percentunit", ("sum without (datname, state) (pg_stat_activity_count) / pg_settings_max_connections", "{{instance}}"),
          FULL, top=1, about="From postgres_exporter."),
    panel("Longest transaction", "s", ('max without (datname, state) (pg_stat_activity_max_tx_duration{state=~"active|idle in transaction"})', "{{instance}}"),
          steps((None, GOOD), (30, WARN))),
]
PROTECTIONS = [
    panel("Breakers", "none", (f"seawall:breaker_state:avg{C}", LIVE), BREAKER, top=2, about="0 closed, 1 half open, 2 open; the mean over instances."),
    panel("Changes of breakers", "ops", (f"sum by (component) (rate(breaker_transitions_total{C}[1m]))", LIVE)),
    panel("Turned away, by protection", "reqps", (f"sum by (component, reason) (rate(shed_total{C}[1m]))", "{{component}} {{reason}}"), stack=True),
    panel("Calls turned away", "percentunit", (f"seawall:shed:ratio1m{C}", LIVE), FEW),
    panel("Reads let through", "percentunit", (f"seawall:throttle_admitted:min{C}", LIVE), ADMITTED, top=1),
    panel("Limit on the origin", "short", (f"sum by (component) (limiter_limit{C} < +Inf)", LIVE)),
    panel("Level of degradation", "none", (f"seawall:degradation_level:max{C}", LIVE), LEVEL),
    panel("Retries", "percentunit", (f"seawall:retries:ratio1m{C}", LIVE), RETRIES),
    panel("Misses that shared a load", "percentunit", (f"seawall:coalesced:ratio1m{C}", LIVE), top=1),
    panel("Stale answers", "reqps", ('sum by (component) (rate(requests_total{component=~"$component",outcome="stale"}[1m]))', LIVE)),
    panel("Line", "short", (f"seawall:queue_depth:sum{C}", LIVE)),
    panel("Entries filled by warming", "reqps", (f"sum by (component) (rate(warmed_total{C}[1m]))", LIVE)),
]
ONE = "{{component}} {{instance}}"
INSTANCE = [
    panel("Calls by outcome", "reqps", (f"sum by (outcome) (rate(requests_total{CI}[1m]))", "{{outcome}}"), stack=True),
    panel("Requests inside", "short", (f"requests_in_flight{CI}", ONE)),
    panel("Line", "short", (f"queue_depth{CI}", ONE)),
    panel("Threads held", "short", (f"threads_busy{CI}", ONE)),
    panel("Breaker", "none", (f"breaker_state{CI}", ONE), BREAKER, top=2),
    panel("Limit on the origin", "short", (f"limiter_limit{CI} < +Inf", ONE)),
    panel("Calls to the origin", "reqps", (f"rate(origin_requests_total{CI}[1m])", ONE)),
    panel("Calls inside the origin", "short", (f"origin_in_flight{CI}", ONE)),
    panel("Entries", "short", (f"cache_entries{CI}", ONE)),
    panel("Copies up", "short", (f"instances_up{CI}", ONE)),
    panel("Level of degradation", "none", (f"degradation_level{CI}", ONE), LEVEL),
    panel("Look-ups that fail", "reqps", (f"sum by (component, instance) (rate(cache_errors_total{CI}[1m]))", ONE)),
]


def variable(name, query, several=True):
    return {"name": name, "label": name, "type": "query", "datasource": SOURCE, "definition": query,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "multi": several, "includeAll": several,
            "allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}, "hide": 0, "options": []}


def drawn(number, spec, x, y, width, height):
    defaults = {"unit": spec["unit"], "thresholds": spec["thresholds"], "color": {"mode": "palette-classic"},
                "mappings": [], "custom": {}}
    options = {}
    if spec["kind"] == "timeseries":
        lined = spec["thresholds"] is not NONE
        defaults["min"] = 0
        defaults["custom"] = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 30 if spec["stack"] else 5, "showPoints": "never",
                              "spanNulls": False, "stacking": {"mode": "normal" if spec["stack"] else "none", "group": "A"},
                              "thresholdsStyle": {"mode": "dashed" if lined else "off"}}
        options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                   "tooltip": {"mode": "multi", "sort": "desc"}}
    elif spec["kind"] == "stat":
        defaults["color"] = {"mode": "thresholds"}
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value",
                   "graphMode": "area", "textMode": "auto", "justifyMode": "auto", "orientation": "auto"}
    if spec["max"] is not None:
        defaults["max"] = spec["max"]
    targets = [{"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expr, "legendFormat": legend or "__auto",
                "range": spec["kind"] != "table", "instant": spec["kind"] == "table",
                "format": "table" if spec["kind"] == "table" else "time_series"}
               for index, (expr, legend) in enumerate(spec["queries"])]
    return {"id": number, "type": spec["kind"], "title": spec["title"], "description": spec["about"], "datasource": SOURCE,
            "gridPos": {"x": x, "y": y, "w": width, "h": height}, "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options, "targets": targets}


def dashboard(uid, title, about, specs, by_instance=False):
    panels, x, y = [], 0, 0
    for spec in specs:
        width, height = {"stat": (4, 4), "timeseries": (12, 8), "table": (24, 8)}[spec["kind"]]
        if x + width > 24:
            x, y = 0, y + panels[-1]["gridPos"]["h"]
        elif panels and panels[-1]["gridPos"]["h"] != height and x:
            x, y = 0, y + panels[-1]["gridPos"]["h"]
        panels.append(drawn(len(panels) + 1, spec, x, y, width, height))
        x += width
    variables = [{"name": "datasource", "label": "datasource", "type": "datasource", "query": "prometheus", "refresh": 1, "hide": 0,
                  "current": {}, "options": [], "multi": False, "includeAll": False},
                 variable("component", "label_values({__name__=~\"requests_total|cache_hits_total|origin_requests_total|instances_up|shed_total\"}, component)")]
    if by_instance:
        variables.append(variable("instance", 'label_values({__name__=~"requests_total|cache_entries|origin_requests_total",component=~"$component"}, instance)'))
    return {"uid": uid, "title": title, "description": about, "tags": ["seawall"], "schemaVersion": 38, "version": 1, "editable": True,
            "refresh": "15s", "time": {"from": "now-1h", "to": "now"}, "timezone": "browser", "graphTooltip": 1,
            "templating": {"list": variables},
            "annotations": {"list": [{
                "name": "Alerts", "enable": True, "hide": False, "iconColor": "red", "datasource": SOURCE,
                "expr": 'ALERTS{alertstate="firing",severity=~"P0|P1"}', "titleFormat": "{{alertname}}",
                "textFormat": "{{component}}", "step": "15s"}]},
            "links": [{"type": "dashboards", "title": "Seawall", "tags": ["seawall"], "asDropdown": True, "includeVars": True, "keepTime": True}],
            "panels": panels}


DASHBOARDS = {
    "overview": dashboard("seawall-overview", "Seawall: overview", "Is it well, and if not, which layer is it?", OVERVIEW),
    "cache": dashboard("seawall-cache", "Seawall: cache", "What the cache holds back, and why it does not.", CACHE),
    "origin": dashboard("seawall-origin", "Seawall: origin", "What reaches the origin, and how it bears it.", ORIGIN),
    "protections": dashboard("seawall-protections", "Seawall: protections", "What each protection does at the moment.", PROTECTIONS),
    "instance": dashboard("seawall-instance", "Seawall: one instance", "One process or node among its peers.", INSTANCE, by_instance=True),
}


def main():
    stale = []
    for name, model in DASHBOARDS.items():
        path, text = FOLDER / f"{name}.json", json.dumps(model, indent=1) + "\n"
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != text:
                stale.append(path.name)
        else:
            path.write_text(text)
    if stale:
        sys.exit(f"stale: {', '.join(stale)}; run deploy/grafana/build.py")


if __name__ == "__main__":
    main()
