"""Small SVG charts: lines over logarithmic axes, and horizontal bars. No dependency, a few kilobytes each."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 76, 168, 44, 52
COLOURS = ("#0b6e4f", "#c8553d", "#28536b", "#a26769", "#7d82b8", "#b08900", "#555555")
DASHES = ("", "6 3", "2 3", "10 4", "8 3 2 3", "4 4", "1 3")


def lines(title, x_label, y_label, series):
    """A chart of `series`: name -> [(x, y), ...]; both axes logarithmic, zero drawn at the left end."""
    points = [point for one in series.values() for point in one]
    smallest = min((x for x, _ in points if x > 0), default=1)
    xs = Axis([x or smallest / 3 for x, _ in points], LEFT, WIDTH - RIGHT)
    ys = Axis([y for _, y in points], HEIGHT - BOTTOM, TOP, 0.06)
    parts = frame(title)
    for value in ys.ticks():
        parts.append(line(LEFT, ys.at(value), WIDTH - RIGHT, ys.at(value), "#dddddd"))
        parts.append(text(LEFT - 8, ys.at(value) + 4, short(value), "end"))
    known = {x for x, _ in points}
    for x in sorted(known if len(known) <= 7 else {*xs.ticks(), *(known & {0})}):
        parts.append(line(xs.at(x or smallest / 3), HEIGHT - BOTTOM, xs.at(x or smallest / 3), HEIGHT - BOTTOM + 5, "#333333"))
        parts.append(text(xs.at(x or smallest / 3), HEIGHT - BOTTOM + 20, short(x), "middle"))
    parts.append(line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "#333333"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label, "middle"))
    parts.append(text(LEFT - 60, TOP - 12, y_label, "start"))
    for at, (name, one) in enumerate(series.items()):
        colour, dash = COLOURS[at % len(COLOURS)], DASHES[at % len(DASHES)]
        places = [(xs.at(x or smallest / 3), ys.at(y)) for x, y in one]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts += legend(at, name, colour, dash)
    return "\n".join([*parts, "</svg>\n"])


def bars(title, unit, groups):
    """Horizontal bars over a logarithmic axis; `groups`: label -> {series: value}, None where there is none."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    height = TOP + 40 + len(groups) * (12 + 16 * len(names))
    values = [value for group in groups.values() for value in group.values() if value]
    left = 200
    axis = Axis([*values, min(values) / 2], left, WIDTH - RIGHT)
    parts = frame(title, height)
    top = TOP
    for label, group in groups.items():
        parts.append(text(left - 8, top + 8 * len(names) + 4, label, "end"))
        for at, name in enumerate(names):
            if value := group.get(name):
                parts.append(f'<rect x="{left}" y="{top + 16 * at}" width="{axis.at(value) - left:.1f}" height="13" '
                             f'fill="{COLOURS[at % len(COLOURS)]}"/>')
                parts.append(text(axis.at(value) + 5, top + 16 * at + 11, short(value), "start"))
        top += 12 + 16 * len(names)
    parts.append(text(left, top + 16, f"{unit}, logarithmic", "start"))
    for at, name in enumerate(names):
        parts += legend(at, name, COLOURS[at % len(COLOURS)], "")
    return "\n".join([*parts, "</svg>\n"])


class Axis:
    """A logarithmic axis between two places."""

    def __init__(self, values, start, end, margin=0.0):
        self.low, self.high = math.log10(min(values)), math.log10(max(values))
        if self.high - self.low < 0.3:
            self.low, self.high = self.low - 0.2, self.high + 0.2
        self.low -= margin * (self.high - self.low)
        self.start, self.end = start, end

    def at(self, value):
        """Where a value lies."""
        return self.start + (math.log10(value) - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        """Values to be marked: 1, 2 and 5 times powers of ten, or only these."""
        steps = (1, 2, 5) if self.high - self.low < 2.5 else (1,)
        powers = range(math.floor(self.low) - 1, math.ceil(self.high) + 1)
        found = [step * 10.0**power for power in powers for step in steps]
        return [value for value in found if self.low - 1e-9 <= math.log10(value) <= self.high + 1e-9]


def frame(title, height=HEIGHT):
    """The beginning of a picture; its own background, so that it can be read on dark pages, too."""
    return [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>", f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
            f'<text x="{LEFT - 60}" y="18" font-size="14" font-weight="bold">{escape(title)}</text>']


def legend(at, name, colour, dash):
    """A line of the legend."""
    x, y = WIDTH - RIGHT + 14, TOP + 10 + 20 * at
    return [f'<line x1="{x}" y1="{y}" x2="{x + 24}" y2="{y}" stroke="{colour}" stroke-width="3" stroke-dasharray="{dash}"/>',
            text(x + 30, y + 4, name, "start")]


def line(x1, y1, x2, y2, colour):
    """A thin line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def text(x, y, words, anchor):
    """A word or two."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(str(words))}</text>'


def short(value):
    """A number for an axis."""
    if value >= 10_000:
        return f"{value / 1000:.3g}k"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
