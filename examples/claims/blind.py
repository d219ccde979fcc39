"""The blind baseline of examples/claims/run: for each task the one answer that earns most on the training rows.

It never sees a clip. A model whose number is no better than its own has learned the labels' distribution and no more.
Answers are whole seconds, as the clips' events are; they are cut to the clip as the reward does, and measured by the
same rules (docs/tasks.md).
"""
import math

LONGEST = 14  # seconds of the longest clip


def length(parts):
    return sum(end - start for start, end in parts)


def union(parts):
    joined = []
    for start, end in sorted(parts):
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        elif end > start:
            joined.append([start, end])
    return joined


def iou(left, right):
    """IoU of two unions of intervals."""
    both = sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in left for b in right)
    either = length(left) + length(right) - both
    return both / either if either > 0 else float(not left and not right)


def clamped(parts, duration):
    return [(min(start, duration), min(end, duration)) for start, end in parts]


def match(guess, truth):
    """The order-keeping matching with the largest sum of IoU, as F1."""
    if not guess and not truth:
        return 1.0
    best = [0.0] * (len(truth) + 1)
    for g in guess:
        row = [0.0]
        for j, t in enumerate(truth):
            row.append(max(best[j + 1], row[j], best[j] + iou([g], [t])))
        best = row
    return 2 * best[-1] / (len(guess) + len(truth))


def spans(first=0, last=LONGEST):
    return [(start, end) for start in range(first, last) for end in range(start + 1, last + 1)]


def best_span(truths):
    """The interval with the largest mean IoU to (segments, duration) pairs."""
    return max(spans(), key=lambda s: sum(iou(clamped([s], duration), truth) for truth, duration in truths))


def best_spans(truths, count):
    """`count` intervals in order with a large mean F1: one at a time is moved while that helps."""
    score = lambda guess: sum(match(clamped(guess, duration), truth) for truth, duration in truths)
    guess = [(10 * i // count, max(10 * (i + 1) // count, 10 * i // count + 1)) for i in range(count)]
    best, moved = score(guess), True
    while moved:
        moved = False
        for i in range(count):
            first, last = guess[i - 1][1] if i else 0, guess[i + 1][0] if i + 1 < count else LONGEST
            for span in spans(first, last):
                tried = guess[:i] + [span] + guess[i + 1:]
                value = score(tried)
                if value > best + 1e-9:
                    guess, best, moved = tried, value, True
    return best, guess


class Blind:
    """Fits on training rows; answers(row) gives what predictions.jsonl would hold of the constant answer."""

    def __init__(self, rows):
        by_task = {}
        for row in rows:
            by_task.setdefault(row["task"], []).append(row)
        truth = lambda row: (union(row["segments"]), row["duration"])
        self.span = {task: best_span([truth(row) for row in by_task[task]]) for task in ("tg", "vhd", "gvqa") if task in by_task}
        self.sentences = {}
        for count in {len(row["segments"]) for row in by_task.get("dtg", [])}:
            same = [row for row in by_task["dtg"] if len(row["segments"]) == count]
            self.sentences[count] = [best_span([([row["segments"][i]], row["duration"]) for row in same]) for i in range(count)]
        actions = [(sorted(row["segments"]), row["duration"]) for row in by_task.get("tal", [])]
        self.actions = max(best_spans(actions, count) for count in (1, 2, 3))[1] if actions else []
        self.letter = {}
        for task in ("gvqa", "qa"):
            letters = [row["answer"] for row in by_task.get(task, [])]
            self.letter[task] = max(sorted(set(letters)), key=letters.count) if letters else ""

    def answer(self, row):
        task, duration, parts = row["task"], row["duration"], {"format": 1.0}
        if task in self.span:
            parts["iou"] = iou(clamped([self.span[task]], duration), union(row["segments"]))
        if task == "dtg":
            guesses = self.sentences.get(len(row["segments"]), [])
            values = [iou(clamped([g], duration), [t]) for g, t in zip(guesses, row["segments"])]
            parts["iou"] = sum(values) / len(row["segments"])
        if task == "tal":
            truth, guess = sorted(row["segments"]), clamped(self.actions, duration)
            parts["match"] = match(guess, truth)
            parts["num"] = math.exp(-abs(len(guess) - len(truth)) / max(1, min(len(truth), 3)))
        if task in ("gvqa", "qa"):
            parts["cls"] = float(row["answer"] == self.letter[task])
        return {"id": row["id"], "task": task, "parts": parts, "parsed": True}

    def said(self, task):
        """The constant answer in words."""
        show = lambda parts: ", ".join("%d to %d s" % part for part in parts)
        if task == "dtg":
            return "; ".join("%d: %s" % (count, show(parts)) for count, parts in sorted(self.sentences.items()))
        found = show(self.actions) if task == "tal" else show([self.span[task]]) if task in self.span else ""
        return ", ".join(part for part in (self.letter.get(task, ""), found) if part)
