"""Tables, plots and the page of examples/claims/run, from the predictions of its evaluations.

Every number is a mean over held-out rows; a difference is paired, row by row and seed by seed, with its 95 % bootstrap
interval over the rows (all seeds' rows together, 2,000 resamples). What the page says about a claim follows from the
interval alone.
"""
import json, os, random

WORDS = {1: "seen", 0: "not seen: the interval holds 0", -1: "the opposite was seen"}


def read(out, seed, name, kind):
    """{row id: prediction} of one evaluation."""
    with open(os.path.join(out, "seed-%d" % seed, name, "eval-" + kind, "predictions.jsonl")) as file:
        return {row["id"]: row for row in map(json.loads, file)}


def part(name, task=None):
    """A measure: a part of the reward, of the rows of one task."""
    return lambda row: row.get("parts", {}).get(name, 0.0) if task in (None, row["task"]) else None


def exact_count(row):
    return float(row.get("parts", {}).get("num", 0.0) == 1) if row["task"] == "tal" else None


def right(row):
    return row.get("parts", {}).get("cls", 0.0) if row["task"] == "qa" else None


def valid(row):
    return float(bool(row.get("parsed"))) if row["task"] == "qa" else None


def values(out, seed, name, kind, measure):
    found = {key: measure(row) for key, row in read(out, seed, name, kind).items()}
    return {key: value for key, value in found.items() if value is not None}


def interval(differences):
    """Mean and 95 % bootstrap interval."""
    draw, n = random.Random(1), len(differences)
    means = sorted(sum(draw.choices(differences, k=n)) / n for _ in range(2000))
    return sum(differences) / n, means[49], means[1949]


class Claim:
    """One section: variants, each a model, a kind of evaluation and its name on the page; measures; comparisons."""

    def __init__(self, letter, title, text, variants, measures, comparisons):
        self.letter, self.title, self.text = letter, title, text
        self.variants, self.measures, self.comparisons = variants, measures, comparisons


IOU = part("iou", "tg")
CLAIMS = [
    Claim("a", "GRPO after SFT beats SFT alone, and SFT for as long",
          "Temporal grounding from the same start. In domain: clips of 8 to 12 s with one or two events. Out of domain: 12 to 14 s "
          "with three events, which no training showed. \"SFT on\" has seven times as many steps, which takes about as long.",
          [("base", "test", "start, in domain"), ("sft-tg", "test", "SFT on, in domain"), ("grpo-tg", "test", "GRPO, in domain"),
           ("base", "longer", "start, out of domain"), ("sft-tg", "longer", "SFT on, out of domain"),
           ("grpo-tg", "longer", "GRPO, out of domain")],
          [("mIoU", IOU)],
          [("GRPO over the start, in domain", 2, 0, 0), ("GRPO over SFT for as long, in domain", 2, 1, 0),
           ("GRPO over the start, out of domain", 5, 3, 0), ("GRPO over SFT for as long, out of domain", 5, 4, 0)]),
    Claim("b", "Five tasks together against each alone",
          "One GRPO run on rows of all five tasks against five runs on one task each, with the same number of steps: together, a task "
          "gets a fifth of the prompts.",
          [("base", "test", "start"), ("grpo-five", "test", "five together")] +
          [("grpo-" + task, "test", "%s alone" % task) for task in ("tg", "dtg", "vhd", "gvqa", "tal")],
          [("tg mIoU", IOU), ("dtg mIoU", part("iou", "dtg")), ("vhd mIoU", part("iou", "vhd")), ("gvqa mIoU", part("iou", "gvqa")),
           ("gvqa right", part("cls", "gvqa")), ("tal F1", part("match", "tal"))],
          [("together over alone, tg", 1, 2, 0), ("together over alone, dtg", 1, 3, 1), ("together over alone, vhd", 1, 4, 2),
           ("together over alone, gvqa", 1, 5, 3), ("together over alone, tal", 1, 6, 5)]),
    Claim("c", "Action localisation: count and matching by dynamic programming",
          "Clips with one to four events, all of them instances. F1 is twice the matched IoU over m + n; \"right number\" is the share "
          "of clips with m = n.",
          [("base", "many", "start"), ("tal-count-dp", "many", "count + DP"), ("tal-dp", "many", "DP"),
           ("tal-positional", "many", "positional")],
          [("F1", part("match", "tal")), ("right number", exact_count)],
          [("count + DP over DP, F1", 1, 2, 0), ("DP over positional, F1", 2, 3, 0), ("count + DP over DP, right number", 1, 2, 1)]),
    Claim("d", "Thinking first",
          "The start learned to name the seconds in which a thing is seen before it answers, and also to answer at once. GRPO goes on "
          "either way from that start.",
          [("base-think", "test", "start, at once"), ("base-think", "think", "start, thinking"), ("grpo-nothink", "test", "GRPO, at once"),
           ("grpo-think", "think", "GRPO, thinking")],
          [("mIoU", IOU)],
          [("thinking over at once, start", 1, 0, 0), ("thinking over at once, after GRPO", 3, 2, 0)]),
    Claim("e", "Variance-aware selection against a random half",
          "Half of the temporal grounding rows, by `tempr1 data select` with eight answers of the start model a row, or at random; the "
          "same number of steps.",
          [("base", "test", "start"), ("select-random", "test", "random half"), ("select-variance", "test", "by variance"),
           ("grpo-tg", "test", "all rows")],
          [("mIoU", IOU)],
          [("by variance over the random half", 2, 1, 0), ("all rows over the half by variance", 3, 2, 0)]),
    Claim("f", "Format reward alone",
          "From a weak start, 50 steps of SFT: what the format reward teaches without IoU.",
          [("early", "test", "start"), ("early-format", "test", "format alone"), ("early-full", "test", "format + IoU")],
          [("format rate", part("format", "tg")), ("mIoU", IOU)],
          [("format alone over the start, format rate", 1, 0, 0), ("format alone over the start, mIoU", 1, 0, 1),
           ("format + IoU over format alone, mIoU", 2, 1, 1)]),
    Claim("g", "What grounding-only training leaves of multiple choice",
          "The models of (a), which saw only temporal grounding after the start, answer `qa`: an answer is valid when it names an option.",
          [("base", "test", "start"), ("sft-tg", "test", "SFT on tg"), ("grpo-tg", "test", "GRPO on tg")],
          [("valid", valid), ("right", right)],
          [("GRPO over SFT, valid", 2, 1, 0), ("GRPO over SFT, right", 2, 1, 1), ("GRPO over the start, right", 2, 0, 1)]),
]


def measured(out, seeds, claim):
    """[variant][measure][seed] -> {row id: value}."""
    return [[[values(out, seed, name, kind, measure) for seed in seeds] for _, measure in claim.measures]
            for name, kind, _ in claim.variants]


def mean(rows):
    return sum(rows.values()) / len(rows) if rows else float("nan")


def table(claim, data, seeds):
    yield "| | %s |" % " | ".join("%s (seeds %s)" % (name, ", ".join(map(str, seeds))) for name, _ in claim.measures)
    yield "|---|%s" % ("---|" * len(claim.measures))
    for variant, cells in zip(claim.variants, data):
        shown = []
        for runs in cells:
            each = [mean(run) for run in runs]
            shown.append("**%.3f** (%s)" % (sum(each) / len(each), ", ".join("%.3f" % x for x in each)))
        yield "| %s | %s |" % (variant[2], " | ".join(shown))


def compared(claim, data):
    """(text, mean, low, high) of every comparison."""
    for text, a, b, measure in claim.comparisons:
        differences = [left[key] - right_[key] for left, right_ in zip(data[a][measure], data[b][measure]) for key in left
                       if key in right_]
        yield (text, *interval(differences))


def plot(claim, data):
    """Bars with a dot for every seed, one group a variant, as SVG."""
    wide, high, left, bottom = 120 * len(claim.variants) + 70, 260, 50, 60
    colours = ["#3b6ea5", "#d1843c", "#5b9a57", "#8a5a9e", "#b5524d", "#6b6b6b"]
    top = max([mean(run) for cells in data for runs in cells for run in runs] + [0.01])
    y = lambda value: high - bottom - value / top * (high - bottom - 30)
    lines = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">' % (wide, high),
             '<rect width="100%" height="100%" fill="white"/>']
    for tick in range(5):
        value = top * tick / 4
        lines.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#dddddd"/><text x="%d" y="%.1f" text-anchor="end">%.2f</text>'
                     % (left, wide - 10, y(value), y(value), left - 4, y(value) + 4, value))
    width = 100 / len(claim.measures)
    for v, (variant, cells) in enumerate(zip(claim.variants, data)):
        x0 = left + 10 + 120 * v
        for m, runs in enumerate(cells):
            each, x = [mean(run) for run in runs], x0 + m * width
            lines.append('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s" fill-opacity="0.75"/>'
                         % (x, y(sum(each) / len(each)), width - 3, high - bottom - y(sum(each) / len(each)), colours[m]))
            lines += ['<circle cx="%.1f" cy="%.1f" r="2.5"/>' % (x + (width - 3) / 2, y(value)) for value in each]
        lines.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' % (x0 + 50, high - bottom + 16, variant[2]))
    for m, (name, _) in enumerate(claim.measures):
        lines.append('<rect x="%d" y="%d" width="10" height="10" fill="%s"/><text x="%d" y="%d">%s</text>'
                     % (left + 10 + 110 * m, high - 22, colours[m], left + 24 + 110 * m, high - 13, name))
    return "\n".join(lines + ["</svg>", ""])


def seconds(out, seeds, name):
    """Mean of a run's time."""
    total = 0.0
    for seed in seeds:
        with open(os.path.join(out, "seed-%d" % seed, name, "metrics.jsonl")) as file:
            total += sum(json.loads(line)["seconds"]["total"] for line in file)
    return total / len(seeds)


def write(page, out, seeds, steps, passed):
    folder = os.path.join(os.path.dirname(os.path.abspath(page)), "claims")
    os.makedirs(folder, exist_ok=True)
    sections, verdicts = [], []
    for claim in CLAIMS:
        data = measured(out, seeds, claim)
        with open(os.path.join(folder, claim.letter + ".svg"), "w") as file:
            file.write(plot(claim, data))
        lines = ["## (%s) %s" % (claim.letter, claim.title), "", claim.text, "", *table(claim, data, seeds), "",
                 "| difference | mean [95 %] | |", "|---|---|---|"]
        for text, middle, low, high in compared(claim, data):
            word = WORDS[1 if low > 0 else -1 if high < 0 else 0]
            lines.append("| %s | %+.3f [%+.3f, %+.3f] | %s |" % (text, middle, low, high, word))
            verdicts.append("| (%s) | %s | %+.3f [%+.3f, %+.3f] | %s |" % (claim.letter, text, middle, low, high, word))
        sections.append("\n".join(lines + ["", "![claim %s](claims/%s.svg)" % (claim.letter, claim.letter), ""]))
    head = ["# The papers' claims in miniature", "",
            "Written by `examples/claims/run`: synthetic clips, a model of one million weights, %d seeds, GRPO runs of %d steps with 32 "
            "prompts of 8 answers. What such models show need not hold for large ones, and the other way round; the page says what was "
            "seen here, also where it differs from the papers. Numbers are means over held-out rows; differences are paired by row and "
            "seed, with 95 %% bootstrap intervals." % (len(seeds), steps), "",
            "A GRPO run on temporal grounding took %.0f s on one thread, the SFT run of the same length %.0f s." %
            (seconds(out, seeds, "grpo-tg"), seconds(out, seeds, "sft-tg")), "",
            "| claim | difference | mean [95 %] | |", "|---|---|---|---|", *verdicts, ""]
    with open(page, "w") as file:
        file.write("\n".join(head) + "\n" + "\n".join(sections))
