"""Tables, plots and the page of examples/claims/run, from the predictions of its evaluations.

Every number is a mean over held-out rows. A difference is paired, row by row and seed by seed; its 95 % interval is a
bootstrap that draws rows and seeds anew (2,000 times). The page's sentences follow from the numbers alone: nothing here is
written for a particular outcome.
"""
import json, os, random

from blind import Blind
from plots import bars

WORDS = {1: "seen", 0: "not seen (the interval holds 0)", -1: "the opposite was seen"}
BLIND = "blind"  # the model that is none


def load(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


# ---- measures: a number for a row of predictions.jsonl, None for rows of other tasks ----

def mean_of(answers, value):
    return sum(value(answer) for answer in answers) / len(answers)


def part(name, task):
    """A part of the reward; the mean over the answers where several were sampled."""
    def value(row):
        if row["task"] != task:
            return None
        return mean_of(row.get("samples", [row]), lambda answer: answer.get("parts", {}).get(name, 0.0))
    return value


def exact_count(row):
    return float(row.get("parts", {}).get("num", 0.0) == 1) if row["task"] == "tal" else None


def valid(row):
    return float(bool(row.get("parsed"))) if row["task"] == "qa" else None


IOU, RIGHT = part("iou", "tg"), part("cls", "qa")
HALF = lambda row: None if IOU(row) is None else float(IOU(row) >= 0.5)


class Variant:
    """One line of a table: a name, the model that answers (one for all measures, or one for each)."""

    def __init__(self, name, model, kind=None):
        self.name, self.model, self.kind = name, model, kind


class Measure:
    def __init__(self, name, value, kind="test"):
        self.name, self.value, self.kind = name, value, kind


class Claim:
    """One section. `claimed` and `others` are comparisons (text, variant, variant, measure): the first by the second. What the
    page answers follows from `claimed`."""

    def __init__(self, letter, title, text, unit, variants, measures, claimed, others=()):
        self.letter, self.title, self.text, self.unit = letter, title, text, unit
        self.variants, self.measures, self.claimed, self.others = variants, measures, claimed, others


ALONE = ["grpo-" + task for task in ("tg", "dtg", "vhd", "gvqa", "gvqa", "tal")]
CLAIMS = [
    Claim("a", "GRPO after SFT beats SFT alone, and SFT for as long",
          "Temporal grounding from the same start, which SFT on all six tasks made. In domain: clips of 8 to 12 s with one or two "
          "events. Out of domain: clips of 12 to 14 s with three events, longer and fuller than any in training. SFT goes on either "
          "for as many steps (so on the same number of rows) or for as much processor time. \"Greedy\" takes the likeliest token, "
          "\"sampled\" is the mean over eight answers drawn at temperature 1, which is what GRPO is paid for.",
          "mIoU",
          [Variant("blind constant", BLIND), Variant("start (SFT alone)", "base"), Variant("SFT, as many steps", "sft-tg"),
           Variant("SFT, as much time", "sft-tg-long"), Variant("GRPO", "grpo-tg")],
          [Measure("in domain, greedy", IOU, "tg"), Measure("in domain, sampled", IOU, "tg-sampled"),
           Measure("out of domain, greedy", IOU, "longer"), Measure("out of domain, sampled", IOU, "longer-sampled")],
          [("GRPO over the start, in domain, greedy", 4, 1, 0), ("GRPO over the start, in domain, sampled", 4, 1, 1),
           ("GRPO over the start, out of domain, greedy", 4, 1, 2), ("GRPO over the start, out of domain, sampled", 4, 1, 3),
           ("GRPO over SFT of as many steps, in domain, greedy", 4, 2, 0),
           ("GRPO over SFT of as many steps, in domain, sampled", 4, 2, 1),
           ("GRPO over SFT of as many steps, out of domain, greedy", 4, 2, 2),
           ("GRPO over SFT of as many steps, out of domain, sampled", 4, 2, 3),
           ("GRPO over SFT of as much time, in domain, greedy", 4, 3, 0),
           ("GRPO over SFT of as much time, in domain, sampled", 4, 3, 1),
           ("GRPO over SFT of as much time, out of domain, greedy", 4, 3, 2),
           ("GRPO over SFT of as much time, out of domain, sampled", 4, 3, 3)],
          [("the start over the blind constant, in domain, greedy", 1, 0, 0),
           ("the start over the blind constant, out of domain, greedy", 1, 0, 2),
           ("SFT of as much time over the start, in domain, greedy", 3, 1, 0),
           ("SFT of as much time over the start, out of domain, greedy", 3, 1, 2)]),
    Claim("b", "Five tasks together against each alone",
          "One GRPO run on rows of all five tasks against five runs on one task each, with the same number of steps: together, a task "
          "gets its share of the rows, a fifth or so of the prompts. The column of a task names its measure: mIoU; for `gvqa` also the "
          "share of right options; F1 for `tal`. All greedy.",
          "mIoU, share right or F1",
          [Variant("blind constant", BLIND), Variant("start", "base"), Variant("each alone", ALONE),
           Variant("five together", "grpo-five")],
          [Measure("tg", IOU), Measure("dtg", part("iou", "dtg")), Measure("vhd", part("iou", "vhd")),
           Measure("gvqa", part("iou", "gvqa")), Measure("gvqa, option", part("cls", "gvqa")), Measure("tal", part("match", "tal"))],
          [("together over alone, " + name, 3, 2, i) for i, name in
           enumerate(["tg", "dtg", "vhd", "gvqa", "gvqa option", "tal"])],
          [("together over the start, " + name, 3, 1, i) for i, name in
           enumerate(["tg", "dtg", "vhd", "gvqa", "gvqa option", "tal"])]),
    Claim("c", "Action localisation: count and matching by dynamic programming",
          "Clips with one to four events, all of them instances, so that their number has to be found. F1 is twice the matched IoU over "
          "m + n by the order-keeping matching, for all variants; \"right number\" is the share of clips with m = n.",
          "F1 or share of clips",
          [Variant("blind constant", BLIND), Variant("start", "base"), Variant("count + DP", "tal-count-dp"),
           Variant("DP, no count", "tal-dp"), Variant("positional, no count", "tal-positional")],
          [Measure("F1", part("match", "tal"), "many"), Measure("right number", exact_count, "many")],
          [("count + DP over DP, F1", 2, 3, 0), ("count + DP over DP, right number", 2, 3, 1),
           ("DP over positional, F1", 3, 4, 0), ("DP over positional, right number", 3, 4, 1)],
          [("count + DP over the start, F1", 2, 1, 0), ("count + DP over the start, right number", 2, 1, 1)]),
    Claim("d", "Thinking first",
          "A start of its own learned two ways from the same rows: to name the seconds in which a thing is seen before it answers, "
          "and to answer at once. GRPO goes on either way from that start, with the same number of steps. Greedy answers; the "
          "differences are of mIoU.",
          "mIoU or share of rows",
          [Variant("blind constant", BLIND, "tg"), Variant("start, at once", "base-think", "tg"),
           Variant("start, thinking", "base-think", "think"), Variant("GRPO, at once", "grpo-nothink", "tg"),
           Variant("GRPO, thinking", "grpo-think", "think")],
          [Measure("mIoU", IOU), Measure("IoU of 0.5 or more", HALF)],
          [("thinking over at once, after GRPO", 4, 3, 0), ("thinking over at once, before GRPO", 2, 1, 0)],
          [("GRPO over the start, at once", 3, 1, 0), ("GRPO over the start, thinking", 4, 2, 0)]),
    Claim("e", "Variance-aware selection against a random half",
          "Half of the temporal grounding rows, chosen by `tempr1 data select` from eight answers of the start to each row, or at "
          "random; the same number of GRPO steps on either half, and on all rows.",
          "mIoU",
          [Variant("blind constant", BLIND), Variant("start", "base"), Variant("random half", "select-random"),
           Variant("half by variance", "select-variance"), Variant("all rows", "grpo-tg")],
          [Measure("mIoU, greedy", IOU, "tg"), Measure("mIoU, sampled", IOU, "tg-sampled")],
          [("by variance over the random half, greedy", 3, 2, 0), ("by variance over the random half, sampled", 3, 2, 1)],
          [("all rows over the half by variance, greedy", 4, 3, 0), ("all rows over the half by variance, sampled", 4, 3, 1)]),
    Claim("f", "Format reward alone",
          "From a weak start, a few steps of SFT, that does not keep the format in every sampled answer: what the format reward "
          "teaches without IoU, and both together. Eight answers a row, sampled at temperature 1.",
          "share of answers or mIoU",
          [Variant("blind constant", BLIND), Variant("weak start", "early"), Variant("format alone", "early-format"),
           Variant("format + IoU", "early-full")],
          [Measure("format rate", part("format", "tg"), "tg-sampled"), Measure("mIoU", IOU, "tg-sampled")],
          [("format alone over the weak start, format rate", 2, 1, 0), ("format + IoU over format alone, mIoU", 3, 2, 1)],
          [("format alone over the weak start, mIoU", 2, 1, 1), ("format + IoU over the weak start, mIoU", 3, 1, 1),
           ("format + IoU over format alone, format rate", 3, 2, 0)]),
    Claim("g", "What grounding-only training leaves of multiple choice",
          "The models of (a), which saw only temporal grounding after the start, answer the `qa` rows greedily. An answer is valid "
          "when it names an option.",
          "share of rows",
          [Variant("blind constant", BLIND), Variant("start", "base"), Variant("SFT on tg, as many steps", "sft-tg"),
           Variant("SFT on tg, as much time", "sft-tg-long"), Variant("GRPO on tg", "grpo-tg")],
          [Measure("valid", valid), Measure("right", RIGHT)],
          [("GRPO over SFT of as many steps, valid", 4, 2, 0), ("GRPO over SFT of as many steps, right", 4, 2, 1),
           ("GRPO over SFT of as much time, valid", 4, 3, 0), ("GRPO over SFT of as much time, right", 4, 3, 1)],
          [("GRPO over the start, valid", 4, 1, 0), ("GRPO over the start, right", 4, 1, 1),
           ("the start over the blind constant, right", 1, 0, 1)]),
]


def needed():
    """Every (model, kind) that the page reads, each once."""
    pairs = [("fresh", "test"), ("base", "test"), ("grpo-five", "test"), ("early-format", "tg"), ("early-full", "tg")]
    for claim in CLAIMS:
        for variant in claim.variants:
            for i, measure in enumerate(claim.measures):
                pairs.append((variant.model if isinstance(variant.model, str) else variant.model[i], variant.kind or measure.kind))
    return [pair for pair in dict.fromkeys(pairs) if pair[0] != BLIND]


class Results:
    """The predictions in a folder of runs, and the blind answers to the same rows."""

    def __init__(self, out, seeds, kinds):
        self.out, self.seeds, self.kinds, self.read, self.blinds = out, seeds, kinds, {}, {}

    def blind(self, train):
        if train not in self.blinds:
            self.blinds[train] = Blind(load(os.path.join(self.out, train)))
        return self.blinds[train]

    def predictions(self, seed, model, kind):
        key = (seed if model != BLIND else 0, model, kind)
        if key not in self.read:
            rows, train = self.kinds[kind][:2]
            if model == BLIND:
                self.read[key] = [self.blind(train).answer(row) for row in load(os.path.join(self.out, rows))]
            else:
                self.read[key] = load(os.path.join(self.out, "seed-%d" % seed, model, "eval-" + kind, "predictions.jsonl"))
        return self.read[key]

    def values(self, model, kind, measure):
        """[seed] -> {row id: value}."""
        found = []
        for seed in self.seeds:
            each = {row["id"]: measure(row) for row in self.predictions(seed, model, kind)}
            found.append({key: value for key, value in each.items() if value is not None})
        return found

    def of(self, claim):
        """[variant][measure][seed] -> {row id: value}."""
        pick = lambda variant, i: variant.model if isinstance(variant.model, str) else variant.model[i]
        return [[self.values(pick(variant, i), variant.kind or measure.kind, measure.value)
                 for i, measure in enumerate(claim.measures)] for variant in claim.variants]


# ---- numbers ----

def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else float("nan")


def means(runs):
    return [mean(run.values()) for run in runs]


class Difference:
    """Of two variants in one measure: its mean, its interval over rows and seeds, every seed's own."""

    def __init__(self, text, left, right):
        self.text = text
        rows = sorted(set.intersection(*map(set, left), *map(set, right)))
        columns = [[a[key] - b[key] for key in rows] for a, b in zip(left, right)]
        self.seeds, self.mean = [mean(column) for column in columns], mean(mean(column) for column in columns)
        draw, found = random.Random(1), []
        for _ in range(2000):
            chosen = draw.choices(range(len(rows)), k=len(rows))
            found.append(mean(sum(map(column.__getitem__, chosen)) / len(rows) for column in draw.choices(columns, k=len(columns))))
        found.sort()
        self.low, self.high = found[49], found[1949]
        self.sign = 1 if self.low > 0 else -1 if self.high < 0 else 0

    def shown(self):
        return "%+.3f [%+.3f, %+.3f]" % (self.mean, self.low, self.high)


def answer(differences):
    """The page's word for a claim, and how many comparisons say so."""
    seen, opposite = (sum(d.sign == sign for d in differences) for sign in (1, -1))
    count = len(differences)
    if seen == count:
        return "Seen", "in all comparisons"
    if not seen and not opposite:
        return "Not seen", "every interval holds 0"
    if opposite == count:
        return "The opposite was seen", "in all comparisons"
    words = "Seen in part" if not opposite else "Not seen, in part the opposite" if not seen else "Mixed"
    return words, "seen in %d of %d comparisons, the opposite in %d" % (seen, count, opposite)


def brief(differences):
    """A cell with all comparisons, those of one pair of variants together; bold where the interval leaves out 0."""
    groups = {}
    for d in differences:
        pair, what = d.text.split(", ", 1)
        groups.setdefault(pair, []).append("%s %s" % (what, d.shown() if not d.sign else "**%s**" % d.shown()))
    return "<br>".join("%s: %s" % (pair, "; ".join(each)) for pair, each in groups.items())


# ---- the page ----

def table(claim, data, seeds):
    yield "| | %s |" % " | ".join(measure.name for measure in claim.measures)
    yield "|---|%s" % ("---|" * len(claim.measures))
    for variant, cells in zip(claim.variants, data):
        shown = []
        for runs in cells:
            each = means(runs)
            seeds_shown = "" if variant.model == BLIND else " (%s)" % ", ".join("%.3f" % x for x in each)
            shown.append("**%.3f**%s" % (mean(each), seeds_shown))
        yield "| %s | %s |" % (variant.name, " | ".join(shown))


def difference_table(differences):
    yield "| difference | mean [95 %] | each seed | |"
    yield "|---|---|---|---|"
    for d in differences:
        yield "| %s | %s | %s | %s |" % (d.text, d.shown(), ", ".join("%+.3f" % x for x in d.seeds), WORDS[d.sign])


def remarks(claim, data, by_text, facts):
    """What else the numbers say, in sentences that hold for whatever they are."""
    at = lambda variant, measure: mean(means(data[variant][measure]))
    said = []
    if claim.letter == "a":
        lead = by_text["the start over the blind constant, in domain, greedy"]
        said.append("The start is %.3f %s the blind constant in domain: %s." % (
            abs(lead.mean), "above" if lead.mean > 0 else "below",
            "it looks at the clip" if lead.sign > 0 else "in mIoU alone it does not show that it looks at the clip"))
        said.append("Processor time of a run, mean of the seeds: %s." % "; ".join(
            "%s %.0f s for %d rows" % (name, facts["cpu"][run], facts["rows"][run]) for name, run in
            (("GRPO", "grpo-tg"), ("SFT of as many steps", "sft-tg"), ("SFT of as much time", "sft-tg-long"))))
        greedy, sampled = at(4, 0) - at(1, 0), at(4, 1) - at(1, 1)
        said.append("GRPO moved the sampled mIoU by %+.3f and the greedy one by %+.3f: it is paid for what it samples, and the gap "
                    "between greedy and sampled answers went from %.3f to %.3f." % (
                        sampled, greedy, at(1, 0) - at(1, 1), at(4, 0) - at(4, 1)))
        steps, long = (by_text["GRPO over SFT of as m%s, in domain, greedy" % x] for x in ("any steps", "uch time"))
        if steps.sign < 0 or long.sign < 0:
            inside = at(3, 0) - at(1, 0)
            outside = at(3, 2) - at(1, 2)
            said.append("Where SFT leads, two things about this miniature help it: the labels are exact to the second, and the held-out "
                        "clips have the very distribution of the training's. Out of that distribution the gain of SFT of as much time "
                        "over the start is %+.3f against %+.3f in domain, that of GRPO %+.3f against %+.3f." % (
                            outside, inside, at(4, 2) - at(1, 2), greedy))
            said.append("\"SFT, as much time\" took %.0f %% of GRPO's processor time and saw %.1f times as many rows." % (
                100 * facts["cpu"]["sft-tg-long"] / facts["cpu"]["grpo-tg"], facts["rows"]["sft-tg-long"] / facts["rows"]["grpo-tg"]))
    if claim.letter == "b":
        said.append("Mean over the six columns: together %.3f, each alone %.3f, the start %.3f." % tuple(
            mean(at(v, i) for i in range(len(claim.measures))) for v in (3, 2, 1)))
        said.append("Five runs alone saw five times the prompts of the one run together.")
        if abs(at(1, 4) - at(0, 4)) < 0.05:
            said.append("The options of `gvqa` were not learned by the start (%.3f, blind %.3f), so that column says little." %
                        (at(1, 4), at(0, 4)))
    if claim.letter == "c":
        share = [at(v, 1) for v in range(1, 5)]
        if max(share) - min(share) < 0.02:
            said.append("The share of right numbers hardly moved in any run: the number of instances was decided by the start.")
        said.append("Answers with too few, right and too many instances, in %% of the clips: %s." % "; ".join(
            "%s %.0f, %.0f, %.0f" % (variant.name, *facts["counts"][variant.model]) for variant in claim.variants[1:]))
    if claim.letter == "d":
        said.append("Mean length of an answer in tokens: %s." % ", ".join(
            "%s %.0f" % (v.name, facts["length"][v.model, v.kind]) for v in claim.variants[1:]))
    if claim.letter == "e":
        kept, every = facts["deviation"]
        said.append("The deviation of the start's IoU within a row's eight answers is %.3f on the rows chosen by variance, %.3f on all; "
                    "their mean IoU is %.3f against %.3f." % (kept[0], every[0], kept[1], every[1]))
    if claim.letter == "f":
        said.append("The greedy answers of the model with format reward alone have a mIoU of %.3f, those with both %.3f." % (
            facts["greedy"]["early-format"], facts["greedy"]["early-full"]))
    if claim.letter == "g":
        lead = by_text["the start over the blind constant, right"]
        if lead.sign <= 0:
            said.append("The start is right in %.3f of the rows, the blind letter in %.3f: it had not learned these questions, so \"right\" "
                        "measures only whether the habit of answering is kept." % (at(1, 1), at(0, 1)))
    counts = [len(cells[0]) for cells in data[0]]
    said.append("Held-out rows of each seed: %s." % (counts[0] if len(set(counts)) == 1 else "; ".join(
        "%d %s" % (count, measure.name) for count, measure in zip(counts, claim.measures))))
    return said


def worth_table(results):
    """What the numbers of a task are worth: blind, untrained, start, five together."""
    blind = results.blind(results.kinds["test"][1])
    columns = [(task, Measure(task, value)) for task, value in (
        ("tg", IOU), ("dtg", part("iou", "dtg")), ("vhd", part("iou", "vhd")), ("gvqa", part("iou", "gvqa")),
        ("tal", part("match", "tal")), ("qa", RIGHT))]
    yield "| | %s |" % " | ".join("`%s`" % task for task, _ in columns)
    yield "|---|%s" % ("---|" * len(columns))
    yield "| the blind answer | %s |" % " | ".join(blind.said(task) for task, _ in columns)
    for name, model in (("blind constant", BLIND), ("untrained", "fresh"), ("start", "base"), ("GRPO, five together", "grpo-five")):
        yield "| %s | %s |" % (name, " | ".join("%.3f" % mean(means(results.values(model, "test", m.value))) for _, m in columns))


def gather(results, times):
    """What the remarks need besides the measures."""
    seeds, out = results.seeds, results.out
    facts = {"cpu": {}, "rows": {}, "counts": {}, "length": {}, "greedy": {}}
    for run in ("grpo-tg", "sft-tg", "sft-tg-long"):
        facts["cpu"][run] = mean(times.get("seed-%d/%s" % (seed, run), float("nan")) for seed in seeds)
        facts["rows"][run] = mean(sum(step["responses"] // (8 if "grpo" in run else 1) for step in load(
            os.path.join(out, "seed-%d" % seed, run, "metrics.jsonl"))) for seed in seeds)
    truth = {row["id"]: len(row["segments"]) for row in load(os.path.join(out, results.kinds["many"][0]))}
    for model in ("base", "tal-count-dp", "tal-dp", "tal-positional"):
        gaps = [len(row.get("parsed") or []) - truth[row["id"]] for seed in seeds for row in results.predictions(seed, model, "many")]
        facts["counts"][model] = [100 * mean(f(gap) for gap in gaps) for f in (lambda g: g < 0, lambda g: g == 0, lambda g: g > 0)]
    for model in ("base-think", "grpo-nothink", "grpo-think"):
        for kind in ("tg", "think"):
            if (model, kind) in needed():
                facts["length"][model, kind] = mean(row["tokens"] for seed in seeds for row in results.predictions(seed, model, kind))
    for model in ("early-format", "early-full"):
        facts["greedy"][model] = mean(means(results.values(model, "tg", IOU)))
    kept, every = [], []
    for seed in seeds:
        folder = os.path.join(out, "seed-%d" % seed, "selection")
        scores = {row["id"]: (row["std"], row["mean"]) for row in load(os.path.join(folder, "scores.jsonl"))}
        every += scores.values()
        kept += [scores[row["id"]] for row in load(os.path.join(folder, "variance.jsonl"))]
    facts["deviation"] = [[mean(x[i] for x in rows) for i in (0, 1)] for rows in (kept, every)]
    return facts


def write(page, out, seeds, kinds, times, intro):
    folder = os.path.join(os.path.dirname(os.path.abspath(page)), "claims")
    os.makedirs(folder, exist_ok=True)
    results = Results(out, seeds, kinds)
    facts, sections, short = gather(results, times), [], []
    for claim in CLAIMS:
        data = results.of(claim)
        compare = lambda c: Difference(c[0], data[c[1]][c[3]], data[c[2]][c[3]])
        claimed, others = list(map(compare, claim.claimed)), list(map(compare, claim.others))
        by_text = {d.text: d for d in claimed + others}
        with open(os.path.join(folder, claim.letter + ".svg"), "w") as file:
            file.write(bars("(%s) %s" % (claim.letter, claim.title), [v.name for v in claim.variants],
                            [m.name for m in claim.measures], [[means(runs) for runs in cells] for cells in data], claim.unit))
        verdict, how_often = answer(claimed)
        short.append("| [(%s)](#%s) %s | **%s**: %s | %s |" %
                     (claim.letter, claim.letter, claim.title, verdict, how_often, brief(claimed)))
        sections.append("\n".join([
            '<a name="%s"></a>' % claim.letter, "## (%s) %s" % (claim.letter, claim.title), "",
            "**%s**: %s." % (verdict, how_often), "", claim.text, "",
            *table(claim, data, seeds), "", "![claim %s](claims/%s.svg)" % (claim.letter, claim.letter), "",
            *difference_table(claimed + others), "",
            *("- " + remark for remark in remarks(claim, data, by_text, facts)), ""]))
    with open(page, "w") as file:
        file.write("\n".join(["# The papers' claims in miniature", "", *intro, "", "## Short answers", "",
                              "| claim | seen here? | by how much: mean [95 %], bold where the interval leaves out 0 |",
                              "|---|---|---|", *short, "",
                              "## What a number is worth", "",
                              "The blind constant is the one answer to all rows of a task that earns most on the training rows, "
                              "in whole seconds; it never sees a clip (`examples/claims/blind.py`). Held-out rows, greedy answers; "
                              "mIoU, F1 for `tal`, share of right options for `qa`.", "", *worth_table(results), "", ""])
                   + "\n".join(sections))
