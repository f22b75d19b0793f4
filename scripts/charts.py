"""Two kinds of charts as SVG, of numbers that the programs print (scripts/update_docs.py): bars whose parts sum to a
whole, and curves over a logarithmic axis. Colours are those of the report's page."""
import html
import math

WIDTH, LEFT, RIGHT = 900, 150, 40
COLOURS = {"compute": "#2f6fb5", "recompute": "#7fb0de", "comm_tp": "#d9541e", "comm_pp": "#e8a21a", "comm_dp": "#a8456b",
           "wait": "#8f98a8", "bubble": "#c3c9d4", "optimizer": "#3c8d5a"}
LINES = ["#d9541e", "#2f6fb5", "#3c8d5a", "#a8456b", "#e8a21a"]


def text(x, y, words, size=12, fill="#1d2330", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}"{more}>{html.escape(words)}</text>'


def picture(height, title, body):
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
                      f'font-family="system-ui, sans-serif"><title>{html.escape(title)}</title>',
                      f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>', text(24, 30, title, 16), *body, "</svg>", ""])


def bars(title, rows, parts):
    """A bar for each row (name, words behind the name, {part: value}), each as long as its sum; `parts`: (key of COLOURS,
    what it is called) in order."""
    row, bar, top = 44, 22, 92
    most = max(sum(values.values()) for _, _, values in rows)
    scale = (WIDTH - LEFT - RIGHT - 60) / most
    body, x = [], 24
    for key, name in parts:
        body += [f'<rect x="{x}" y="46" width="12" height="12" fill="{COLOURS[key]}"/>', text(x + 17, 56, name)]
        x += 30 + 6.6 * len(name)
    for i, (name, words, values) in enumerate(rows):
        y, x = top + row * i, LEFT
        body += [text(24, y + 10, name), text(24, y + 24, words, 11, "#5b6475")]
        for key, part in parts:
            width = values.get(key, 0) * scale
            if width > 0:
                body.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{bar}" fill="{COLOURS[key]}">'
                            f'<title>{html.escape(f"{name}, {part}: {values[key]:.3g} s")}</title></rect>')
            x += width
        body.append(text(x + 8, y + 16, f"{sum(values.values()):.3g} s"))
    return picture(top + row * len(rows) + 6, title, body)


def curves(title, lines, unit, markers):
    """Lines (name, [(x, y)], x of the dot: where it is now) over a logarithmic x axis, y from 0; `markers`: (name, x)."""
    top, bottom, height = 76, 372, 430
    xs = [x for _, points, _ in lines for x, _ in points]
    low, high = math.log2(min(xs)), math.log2(max(xs))
    most = max(y for _, points, _ in lines for _, y in points)
    at_x = lambda x: LEFT - 90 + (math.log2(x) - low) / (high - low) * (WIDTH - LEFT + 90 - RIGHT - 40)
    at_y = lambda y: bottom - y / most * (bottom - top)
    step = 10 ** math.floor(math.log10(most))
    step = step / 2 if most / step < 3 else step
    body = []
    for k in range(int(most / step) + 1):
        y = at_y(k * step)
        body += [f'<line x1="{at_x(min(xs)):.1f}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d6dae2"/>',
                 text(at_x(min(xs)) - 8, y + 4, f"{k * step:.4g} s", 11, "#5b6475", ' text-anchor="end"')]
    for k in range(math.ceil(low), math.floor(high) + 1):
        body.append(text(at_x(2 ** k), bottom + 18, f"{2 ** k:g}", 11, "#5b6475", ' text-anchor="middle"'))
    body.append(text(WIDTH - RIGHT, bottom + 38, unit, 12, "#1d2330", ' text-anchor="end"'))
    for i, (name, x) in enumerate(markers):
        body += [f'<line x1="{at_x(x):.1f}" x2="{at_x(x):.1f}" y1="{top}" y2="{bottom}" stroke="#8f98a8" stroke-dasharray="3 3"/>',
                 text(at_x(x) + 4, top + 10 + 14 * (i % 3), name, 11, "#5b6475")]
    x = 24
    for i, (name, points, now) in enumerate(lines):
        colour = LINES[i % len(LINES)]
        path = " ".join(f"{at_x(a):.1f},{at_y(b):.1f}" for a, b in points)
        body.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        body += [f'<circle cx="{at_x(a):.1f}" cy="{at_y(b):.1f}" r="5" fill="{colour}"><title>'
                 f'{html.escape(f"{name}, now: {a:.4g} GB/s, {b:.3g} s")}</title></circle>'
                 for a, b in points if abs(a - now) < 1e-9 * now]
        body += [f'<rect x="{x}" y="46" width="12" height="12" fill="{colour}"/>', text(x + 17, 56, name)]
        x += 30 + 6.6 * len(name)
    return picture(height, title, body)
