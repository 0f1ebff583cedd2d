"""Numbers and tables in Markdown."""


def number(value, unit=""):
    """A number as people read it: three digits or so, with its unit."""
    if value is None:
        return "–"
    if value and abs(value) < 10:
        digits = f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
    elif abs(value) < 100:
        digits = f"{value:.1f}"
    else:
        digits = f"{value:,.0f}"
    if isinstance(value, int):
        digits = f"{value:,}"
    return f"{digits} {unit}".strip()


def spread(figure, unit=""):
    """A median with its lowest and highest round."""
    if figure is None:
        return "–"
    if figure["rounds"] == 1:
        return number(figure["median"], unit)
    return f"{number(figure['median'], unit)} ({number(figure['low'])}–{number(figure['high'])})"


def table(header, rows):
    """A table; figures to the right."""
    lines = [" | ".join(header), " | ".join(["---", *["---:"] * (len(header) - 1)])]
    lines += [" | ".join(map(str, row)) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)
