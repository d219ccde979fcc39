"""Bar charts as SVG: a group of bars for each measure, a bar for each variant, a dot for each seed."""
from xml.sax.saxutils import escape

COLOURS = ["#b9b9b9", "#7d7d7d", "#d1843c", "#b5524d", "#3b6ea5", "#5b9a57"]
BAR, GAP, LEFT, TOP, BOTTOM, HIGH = 30, 34, 52, 66, 34, 350


def text(x, y, words, anchor="start", size=12, weight="normal"):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d" font-weight="%s">%s</text>' % (
        x, y, anchor, size, weight, escape(words))


def bars(title, variants, measures, seeds, unit):
    """seeds: [variant][measure][seed] -> number. Numbers lie between 0 and 1."""
    group = BAR * len(variants) + GAP
    plot = max(group * len(measures), 260)
    legend = LEFT + plot + 12
    wide = max(legend + 16 + 7 * max(map(len, variants)), LEFT + 8 * len(title))
    top = max([value for cells in seeds for runs in cells for value in runs] + [0.01])
    step = next(s for s in (0.05, 0.1, 0.2, 0.25) if top / s <= 5)
    ticks = int(top / step + 0.999)
    y = lambda value: HIGH - BOTTOM - value / (ticks * step) * (HIGH - BOTTOM - TOP)
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif">' %
             (wide, HIGH, wide, HIGH), '<rect width="100%" height="100%" fill="white"/>',
             text(12, 22, title, size=14, weight="bold"), text(12, TOP - 20, unit, size=11)]
    for tick in range(ticks + 1):
        lines.append('<line x1="%d" x2="%.1f" y1="%.1f" y2="%.1f" stroke="#dddddd"/>' %
                     (LEFT, LEFT + plot, y(tick * step), y(tick * step)))
        lines.append(text(LEFT - 6, y(tick * step) + 4, "%.2f" % (tick * step), "end", 11))
    slot = plot / len(measures)
    for m, name in enumerate(measures):
        middle = LEFT + slot * (m + 0.5)
        lines.append(text(middle, HIGH - BOTTOM + 18, name, "middle"))
        for v in range(len(variants)):
            each, x = seeds[v][m], middle + BAR * (v - len(variants) / 2)
            height = sum(each) / len(each)
            lines.append('<rect x="%.1f" y="%.1f" width="%d" height="%.1f" fill="%s"/>' %
                         (x + 2, y(height), BAR - 4, y(0) - y(height), COLOURS[v % len(COLOURS)]))
            if len(set(each)) > 1:
                lines += ['<circle cx="%.1f" cy="%.1f" r="2.5" fill="black" fill-opacity="0.7"/>' %
                          (x + BAR / 2 + 5 * (s - (len(each) - 1) / 2), y(value)) for s, value in enumerate(each)]
            lines.append(text(x + BAR / 2, y(max(each)) - 5, ("%.2f" % height).lstrip("0") or "0", "middle", 10))
    for v, name in enumerate(variants):
        lines.append('<rect x="%.1f" y="%d" width="11" height="11" fill="%s"/>' % (legend, TOP + 20 * v, COLOURS[v % len(COLOURS)]))
        lines.append(text(legend + 16, TOP + 10 + 20 * v, name))
    return "\n".join(lines + ["</svg>", ""])
