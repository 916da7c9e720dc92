"""Draw the results as one SVG that can be read on light and on dark paper."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

from report import COLUMNS, Results, rate, short
from servers import BEANSTALK, GEARSTORE, INTERVAL, REDIS_ALWAYS, SERVERS, SQLITE

PANELS = {
    "submit 1x1": "Submit: 1 client, one job at a time",
    "submit 8x1": "Submit: 8 clients, one at a time each",
    "submit 64x1": "Submit: 64 clients, one at a time each",
    "submit 8x64": "Submit: 8 clients, 64 under way each",
    "submit 8x64, 10 KB": "Submit: the same with 10 KB workloads",
    "drain 8": "Drain of a backlog: 8 workers",
    "drain 64": "Drain of a backlog: 64 workers",
    "foreground 8+8": "Foreground: 8 clients, 8 workers (nobody stores these)",
}
DURABLE = {SQLITE.name, REDIS_ALWAYS.name, BEANSTALK.name}  # of the others: these keep what they answered
LEGEND = (
    ("ours", "gearstore: every answered job is on disk"),
    ("durable", "keeps answered jobs too"),
    ("volatile", "loses them with its process"),
)

WIDTH, MARGIN, GAP = 920, 24, 36
COLUMN = (WIDTH - 2 * MARGIN - GAP) // 2
LABEL, VALUE = 132, 52  # pixels left and right of the bars
ROW, BAR, HEAD, BELOW = 21, 13, 26, 22
TOP = 84

STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: #495057 }
  .paper { fill: #ffffff } .title { font-size: 17px; font-weight: 600; fill: #212529 }
  .head { font-weight: 600; fill: #212529 } .mine { font-weight: 600; fill: #0b7285 }
  .small { font-size: 11px; fill: #868e96 } .axis { stroke: #dee2e6 }
  .ours { fill: #1098ad } .weaker { fill: #1098ad; opacity: .55 }
  .durable { fill: #868e96 } .volatile { fill: url(#hatch); stroke: #adb5bd } .line { stroke: #adb5bd }
  @media (prefers-color-scheme: dark) {
    text { fill: #adb5bd } .paper { fill: #0d1117 } .title, .head { fill: #f1f3f5 } .mine { fill: #3bc9db }
    .small { fill: #868e96 } .axis { stroke: #343a40 } .ours { fill: #22b8cf } .weaker { fill: #22b8cf }
    .durable { fill: #868e96 } .volatile { stroke: #5c636a } .line { stroke: #5c636a }
  }
"""
HATCH = (
    '<pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line class="line" x1="0" y1="0" x2="0" y2="5" stroke-width="2"/></pattern>'
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its look, what it is called, and operations a second."""

    look: str
    label: str
    value: float


def bars(results: Results, scenario: str) -> list[Bar]:
    """Return the bars of a panel, ours first; none if ours was not measured."""
    found = []
    for name, look, label in (
        (GEARSTORE.name, "ours", GEARSTORE.title),
        (INTERVAL.name, "weaker", "synced each 50 ms"),
    ):
        value = results.median(scenario, name, rate)
        if value is not None:
            found.append(Bar(look, label, value))
    for column in COLUMNS:
        best = results.best(scenario, column)
        value = results.median(scenario, best, rate)
        if best is not None and value is not None:
            found.append(Bar("durable" if best in DURABLE else "volatile", SERVERS[best].title, value))
    return found if found and found[0].look == "ours" else []


def text(x: float, y: float, content: str, look: str = "", anchor: str = "start") -> str:
    """Return a line of text."""
    return (
        f'<text x="{x:g}" y="{y:g}" class="{look}" text-anchor="{anchor}" xml:space="preserve">{escape(content)}</text>'
    )


def panel(x: float, y: float, title: str, drawn: list[Bar]) -> list[str]:
    """Return the parts of a panel whose upper left corner is given."""
    most = max(bar.value for bar in drawn)
    left, room = x + LABEL, COLUMN - LABEL - VALUE
    parts = [text(x, y + 12, title, "head")]
    bottom = y + HEAD + ROW * len(drawn)
    parts.append(f'<line class="axis" x1="{left - 0.5}" y1="{y + HEAD - 4}" x2="{left - 0.5}" y2="{bottom - 2}"/>')
    for row, bar in enumerate(drawn):
        top = y + HEAD + ROW * row
        width = max(room * bar.value / most, 1.5)
        mine = "mine" if bar.look == "ours" else ""
        parts.append(text(left - 8, top + 11, bar.label, mine, "end"))
        parts.append(f'<rect class="{bar.look}" x="{left}" y="{top}" width="{width:.1f}" height="{BAR}" rx="1.5"/>')
        parts.append(text(left + width + 6, top + 11, short(bar.value), mine))
    return parts


def draw(results: Results, remark: str) -> str:
    """Return the picture; `remark` says where and how it was measured."""
    panels = [(title, drawn) for scenario, title in PANELS.items() if (drawn := bars(results, scenario))]
    parts, y = [], float(TOP)
    for pair in (panels[start : start + 2] for start in range(0, len(panels), 2)):
        for place, (title, drawn) in enumerate(pair):
            parts += panel(MARGIN + place * (COLUMN + GAP), y, title, drawn)
        y += HEAD + ROW * max(len(drawn) for _, drawn in pair) + BELOW
    parts.append(text(MARGIN, y + 4, remark, "small"))
    height = y + 24
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" role="img">',
            f"<title>{escape('Jobs a second: gearstore, gearmand, redis and beanstalkd')}</title>",
            f"<style>{STYLE}</style><defs>{HATCH}</defs>",
            f'<rect class="paper" width="{WIDTH}" height="{height:g}" rx="6"/>',
            text(MARGIN, 34, "Jobs a second (longer is better)", "title"),
            *legend(MARGIN, 58),
            *parts,
            "</svg>\n",
        ]
    )


def legend(x: float, y: float) -> list[str]:
    """Return what the looks of the bars mean."""
    parts = []
    for look, label in LEGEND:
        parts.append(f'<rect class="{look}" x="{x:g}" y="{y - 10:g}" width="{BAR}" height="{BAR}" rx="1.5"/>')
        parts.append(text(x + 20, y + 1, label))
        x += 44 + 6.4 * len(label)
    return parts
