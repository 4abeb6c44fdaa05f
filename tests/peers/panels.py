"""Draws what the panels of the Grafana dashboards show, from a Prometheus that scrapes a daemon: a picture per dashboard.

    python3 -m venv venv && venv/bin/pip install matplotlib
    venv/bin/python tests/peers/panels.py http://127.0.0.1:9090 OUT [--minutes 10] [--ago 0]

Grafana itself is not needed, and its look is not shown: only place, title, unit and series of each panel.
"""

import argparse
import datetime
import json
import pathlib
import re
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

BOARDS = pathlib.Path(__file__).parent.parent.parent / "dashboards/grafana"
CELL_INCHES = (0.9, 0.55)


def asked(server, path, **query):
    with urllib.request.urlopen(f"{server}/api/v1/{path}?{urllib.parse.urlencode(query)}") as answer:
        return json.load(answer)["data"]["result"]


def filled_in(query, minutes):
    for variable, value in [("$instance", ".+"), ("$source", ".+"), ("$__rate_interval", "1m"), ("$__range", f"{minutes}m")]:
        query = query.replace(variable, value)
    return query


def named(legend, labels):
    if legend in (None, "__auto"):
        return ", ".join(value for key, value in labels.items() if key not in ("__name__", "instance", "job"))
    return re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), legend)


def draw(axes, panel, server, now, minutes):
    unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
    axes.set_title(f"{panel['title']} [{unit}]", fontsize=8, loc="left")
    axes.tick_params(labelsize=6)
    lines, texts = 0, []
    for target in panel.get("targets", []):
        query = filled_in(target["expr"], minutes)
        if panel["type"] in ("stat", "table"):
            found = asked(server, "query", query=query, time=now)
            texts += [f"{named(target.get('legendFormat'), series['metric'])} {float(series['value'][1]):.4g}" for series in found]
            continue
        for series in asked(server, "query_range", query=query, start=now - minutes * 60, end=now, step=5):
            times = [datetime.datetime.fromtimestamp(at) for at, _ in series["values"]]
            axes.plot(times, [float(value) for _, value in series["values"]], label=named(target.get("legendFormat"), series["metric"])[:30])
            lines += 1
    if texts or not lines:
        axes.axis("off")
        axes.text(0, 0.5, "\n".join(texts[:8]) or "no data", fontsize=8, va="center", color="black" if texts else "red")
    elif lines <= 12:
        axes.legend(fontsize=5, loc="upper left")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--ago", type=float, default=0, help="seconds since the end of what is drawn")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    until = time.time() - arguments.ago
    for path in sorted(BOARDS.glob("*.json")):
        board = json.loads(path.read_text())
        panels = [panel for panel in board["panels"] if panel["type"] not in ("row", "alertlist", "text")]
        height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
        figure = pyplot.figure(figsize=(24 * CELL_INCHES[0], height * CELL_INCHES[1]))
        for panel in panels:
            at = panel["gridPos"]
            place = [(at["x"] + 0.6) / 24, 1 - (at["y"] + at["h"] - 0.7) / height, (at["w"] - 1) / 24, (at["h"] - 1.6) / height]
            draw(figure.add_axes(place), panel, arguments.server, until, arguments.minutes)
        figure.savefig(arguments.out / f"{path.stem}.png", dpi=80)
        print(arguments.out / f"{path.stem}.png")


if __name__ == "__main__":
    main()
