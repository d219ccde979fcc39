#!/usr/bin/env python3
"""The table of docs/cuda.md, measured in one run: what a GPU reaches at best, what tempr1 reaches on it, and what the
PyTorch loop takes for the same work.

    python3 bench/cuda_table.py --tempr1 build/cuda/tempr1 --out build/cuda/bench

`make bench-cuda` builds and calls it. For every preset: a random checkpoint (model init), then `tempr1 bench` for vision,
prefill, decode (G responses for each of --groups prompts) and logprob; then update and GRPO step, twice with one seed,
whose digests must be equal; a shape whose training does not fit the GPU whole does both with adapters (--lora); then the
peer (peer_transformers.py through peer_cuda.py) on the same checkpoint. Writes OUT/table.md, to be pasted into docs/cuda.md, and OUT/table.json with every figure. A row that was not run says why: without
a GPU all of them do, and that is no failure. Exit status 1: something ran and failed, the log-probs of decoding and
training differed, or two equal runs did.
"""
import argparse, json, os, shutil, subprocess, sys, time

DISK_GB = {"qwen2.5-vl-3b": 7.6, "qwen2.5-vl-7b": 16.7}  # of a checkpoint in bf16
TRAINED_WHOLE = {"qwen2.5-vl-3b"}  # with all weights on one GPU: 18 bytes a parameter, reference and activations
WHOLE_DOES_NOT_FIT = "training all weights of this shape does not fit one GPU of 139 GiB"
TARGETS = {"qwen2.5-vl-3b"}  # the wishes of the table are for this shape


class NotRun(Exception):
    """Why something was not measured; nothing is wrong with the program."""


class Failed(Exception):
    pass


def note(*words):
    print(*words, file=sys.stderr, flush=True)


def clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def nearest(x):
    """Three digits, without exponents."""
    if x == 0:
        return "0"
    digits = max(0, 2 - int(f"{abs(x):e}".split("e")[1]))
    return f"{x:,.{digits}f}"


def flops(gflops):
    return f"{nearest(gflops / 1000)} TFLOP/s" if gflops >= 1000 else f"{nearest(gflops)} GFLOP/s"


def seconds(s):
    return f"{nearest(s * 1000)} ms" if s < 1 else f"{nearest(s)} s"


def share(result, key, of):
    return f", {100 * result[key]:.1f} % of {of}" if key in result else f", share of {of} n/a"


# ---------------------------------------------------------------- rows
class Table:
    def __init__(self, reason):
        self.rows, self.reason = {}, reason

    def add(self, key, name, wanted=""):
        self.rows[key] = {"id": key, "name": name, "wanted": wanted, "state": "not run", "reason": self.reason}

    def why_not(self, keys, reason, state="not run"):
        for key in keys:
            if self.rows[key]["state"] == "not run":
                self.rows[key].update(state=state, reason=reason)

    def fill(self, key, text, met=None, **figures):
        self.rows[key].pop("reason", None)
        self.rows[key].update(state="measured", measured=text, met=met, figures=figures)

    def count(self, state):
        return sum(row["state"] == state for row in self.rows.values())

    def markdown(self, a, about):
        yield about + "\n"
        yield f"| on one GPU, {a.dtype} | wanted | measured | |"
        yield "|---|---|---|---|"
        for row in self.rows.values():
            met = {True: "met", False: "**missed**", None: ""}[row.get("met")]
            what = row["measured"] if row["state"] == "measured" else f"{row['state']}: {row['reason']}"
            yield f"| {row['name']} | {row['wanted']} | {what} | {met} |"


def trains_whole(p):
    return p in TRAINED_WHOLE or p not in DISK_GB


def trains_adapters(p):
    return p not in TRAINED_WHOLE


def plan_rows(table, a):
    table.add("ceiling", "ceilings: bf16 product (cuBLASLt, 8192 x 8192 x 8192); copy; reading")
    for p in a.presets:
        asked = p in TARGETS
        table.add(f"{p}.vision", f"{p}: vision tower")
        table.add(f"{p}.prefill", f"{p}: prefill", ">= 60 % of the product ceiling" if asked else "")
        table.add(f"{p}.decode", f"{p}: decode, G = {a.group} x {a.groups} groups",
                  ">= 60 % of the bandwidth-bound rate" if asked else "")
        table.add(f"{p}.logprob", f"{p}: logprob, one group")
        table.add(f"{p}.memory", f"{p}: GPU memory of these, planned and in use")
        if trains_adapters(p):
            table.add(f"{p}.lora_decode", f"{p}, LoRA of rank {a.lora}: decode, G = {a.group}")
            table.add(f"{p}.lora_logprob", f"{p}, LoRA of rank {a.lora}: logprob, one group")
            plan_training_rows(table, p, "lora_", f"{p}, LoRA of rank {a.lora}", asked)
        if trains_whole(p):
            plan_training_rows(table, p, "", p, asked)
        for name in "prefill", "decode":
            table.add(f"{p}.peer_{name}", f"{p}: {name}, transformers / tempr1")
        table.add(f"{p}.peer_step", f"{p}: GRPO step, transformers loop / tempr1", ">= 5x" if asked else "")
        table.add(f"{p}.peer_kind", f"{p}: the same, its kindest form (head at responses alone, no pass for old log-probs)")


def plan_training_rows(table, p, kind, name, asked):
    table.add(f"{p}.{kind}update", f"{name}: update, one group")
    table.add(f"{p}.{kind}step", f"{name}: GRPO step, one group", "<= 2 s" if asked else "")
    table.add(f"{p}.{kind}step_memory", f"{name}: GPU memory of the step, planned and in use")
    table.add(f"{p}.{kind}gap", f"{name}: `logprob_gap`", "0")
    table.add(f"{p}.{kind}same", f"{name}: two runs with one seed", "the same bytes")


# ---------------------------------------------------------------- running
def run(a, name, command, **more):
    """stdout as JSON; stderr passes through to the log and to the screen."""
    note("+", " ".join(command))
    log = os.path.join(a.out, name.replace(" ", "-") + ".log")
    with open(log, "w") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", **more)
        last = ""
        for line in child.stderr:  # stdout is one line at the end: it waits in the pipe
            errors.write(line)
            last = line.strip() or last
            sys.stderr.write("  " + line)
        out = child.stdout.read()
        code = child.wait()
    if code:
        kind = NotRun if "GPU memory cannot be had" in last else Failed
        raise kind(last or f"exit status {code}")
    try:
        return json.loads(out.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise Failed(f"{command[0]} printed no JSON") from None


def gpu(a):
    """What the program says about the GPU; NotRun with its words where there is none."""
    if a.not_run:
        raise NotRun(a.not_run)
    try:
        done = subprocess.run([a.tempr1, "selftest", "--json", "--dir", a.out], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, errors="replace")
        checks = {c["name"]: c for c in json.loads(done.stdout.strip().splitlines()[-1])["checks"]}
    except (OSError, ValueError, IndexError, KeyError) as e:
        raise Failed(f"{a.tempr1} selftest: {e}") from None
    if checks["cuda"]["result"] != "ok":
        raise NotRun(checks["cuda"]["detail"])
    return checks["cuda"]["detail"]


def make_model(a, preset):
    folder = os.path.join(a.work, preset)
    if not os.path.exists(os.path.join(folder, "config.json")):
        free = shutil.disk_usage(a.work).free / 1e9
        if free < DISK_GB.get(preset, 0) + 1:
            raise NotRun(f"the checkpoint needs {DISK_GB[preset]} GB of disk, {free:.1f} are free in {a.work}")
        run(a, f"{preset} init", [a.tempr1, "model", "init", "--preset", preset, "--out", folder, "--json"])
    return folder


def bench(a, name, preset, *more):
    return run(a, f"{preset} {name}",
               [a.tempr1, "bench", "--model", os.path.join(a.work, preset), "--grid", a.grid, "--text", str(a.text),
                "--group", str(a.group), "--response", str(a.response), "--dtype", a.dtype, "--device", a.device,
                "--seed", "1", "--json", *more])


def peer_missing(a):
    if not os.path.exists(a.peer):
        return f"{os.path.basename(a.peer)} is not there: name it with --peer"
    try:
        done = subprocess.run([a.python, "-c", "import torch, transformers"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
    except OSError as e:
        return f"{a.python}: {e.strerror}"
    if done.returncode:
        return (f"{os.path.basename(a.python)} has no torch or transformers: pip install torch transformers torchvision, "
                "then name that Python with --python")
    return None


def peer(a, name, preset, *more):
    return run(a, f"{preset} {name}",
               [a.python, os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer_cuda.py"), "--peer", a.peer,
                "--on", a.peer_device or a.device, *more, "--model", os.path.join(a.work, preset), "--grid", a.grid,
                "--text", str(a.text), "-G", str(a.group), "-R", str(a.response), "--dtype",
                "bfloat16" if a.dtype == "bf16" else "float32", "--seed", "1", "--json"],
               env=dict(os.environ, HF_HUB_OFFLINE="1"))


# ---------------------------------------------------------------- figures into rows
def fill_ceiling(table, result):
    c = result.get("ceiling", {})
    if "product_tflops" not in c:
        table.why_not(["ceiling"], c.get("missing", "the program gave no ceiling"))
        return
    table.fill("ceiling", f"{nearest(c['product_tflops'])} TFLOP/s; {nearest(c['copy_gb_per_s'])} GB/s; "
               f"{nearest(c['read_gb_per_s'])} GB/s", **c)


def fill_phase(table, key, phase, limit=None, more=""):
    s = phase["seconds"]["median"]
    enough = phase.get("ceiling_share")
    met = None if limit is None or enough is None else enough >= limit
    table.fill(key, f"{seconds(s)}, {nearest(phase['tokens_per_s'])} tokens/s, {flops(phase['gflops'])}"
               + share(phase, "ceiling_share", "the ceiling") + more, met, seconds=s, tokens_per_s=phase["tokens_per_s"],
               gflops=phase["gflops"], peer_gflops=phase["peer_gflops"], ceiling_share=enough)


def fill_memory(table, key, phases):
    """The largest of each."""
    planned = max(p["planned_gib"] for p in phases)
    seen = max(p["peak_gpu_gib"] for p in phases)
    table.fill(key, f"{planned:.2f} GiB planned, {seen:.2f} in use (with the driver's context and working memory)",
               planned_gib=planned, peak_gpu_gib=seen)


def fill_forward(table, p, result):
    phases, asked = result["phases"], p in TARGETS
    fill_phase(table, f"{p}.vision", phases["vision"])
    fill_phase(table, f"{p}.prefill", phases["prefill"], 0.6 if asked else None)
    fill_decode(table, f"{p}.decode", phases["decode"]["shared"], 0.6 if asked else None)
    fill_phase(table, f"{p}.logprob", phases["logprob"])
    fill_memory(table, f"{p}.memory", phases.values())


def fill_decode(table, key, d, limit=None):
    step, part = d["step_seconds"]["median"], d.get("bandwidth_share")
    table.fill(key, f"{seconds(step)} a step, {nearest(d['tokens_per_s'])} tokens/s, "
               f"{nearest(d['bytes_per_step'] / 1e9)} GB a step, {nearest(d['gb_per_s'])} GB/s"
               + share(d, "bandwidth_share", "the bandwidth") + f", {flops(d['gflops'])}",
               part >= limit if limit is not None and part is not None else None, step_seconds=step, tokens_per_s=d["tokens_per_s"],
               bytes_per_step=d["bytes_per_step"], gb_per_s=d["gb_per_s"], bandwidth_share=part)


def fill_training(table, p, kind, runs, recompute):
    phases = runs[0]["phases"]
    if kind:  # with adapters these differ from the whole weights'
        fill_decode(table, f"{p}.{kind}decode", phases["decode"]["shared"])
        fill_phase(table, f"{p}.{kind}logprob", phases["logprob"])
    fill_phase(table, f"{p}.{kind}update", phases["update"], more=f"; recompute {recompute}")
    step, parts = phases["step"], phases["step"]["parts"]
    fill_phase(table, f"{p}.{kind}step", step, more=f"; rollout {seconds(parts['rollout'])}, reference "
               f"{seconds(parts['reference'])}, update {seconds(parts['update'])}; recompute {recompute}")
    if p in TARGETS:
        table.rows[f"{p}.{kind}step"]["met"] = step["seconds"]["median"] <= 2
    fill_memory(table, f"{p}.{kind}step_memory", phases.values())
    gaps = [r["phases"]["step"]["logprob_gap"] for r in runs]
    table.fill(f"{p}.{kind}gap", " and ".join(f"{g:g}" for g in gaps), all(g == 0 for g in gaps), gaps=gaps)
    if len(runs) > 1:
        digests = [r["phases"]["step"]["digest"] for r in runs]
        same = digests[0] == digests[1]
        table.fill(f"{p}.{kind}same", f"digests {digests[0]} and {digests[1]}: {'the same' if same else 'different'}", same,
                   digests=digests)
        if not same:
            raise Failed("two runs with the same seed gave different bytes")
    if any(gaps):
        raise Failed(f"decoding and training differ: logprob_gap {gaps}")


def best_decode(theirs):
    steps = {k: v["step_seconds"]["median"] for k, v in theirs["decode"].items() if isinstance(v, dict) and "step_seconds" in v}
    if not steps:
        raise Failed("the peer decoded in no form")
    name = min(steps, key=steps.get)
    return name, steps[name]


def fill_peer(table, p, mine, theirs, groups):
    ours, their = mine["phases"]["prefill"]["seconds"]["median"], theirs["phases"]["prefill"]["seconds"]["median"]
    table.fill(f"{p}.peer_prefill", f"{seconds(their)} / {seconds(ours)} = {their / ours:.2f}x", None, ratio=their / ours)
    name, step = best_decode(theirs["phases"])
    one = mine["one_group"]["shared"]["step_seconds"]["median"]
    table.fill(f"{p}.peer_decode", f"a step of one group: {seconds(step)} ({name}) / {seconds(one)} = {step / one:.2f}x",
               None, ratio=step / one, form=name)


def fill_peer_step(table, p, mine, theirs, kind):
    ours = mine["phases"]["step"]["seconds"]["median"]
    their = theirs["phases"]["step"]["seconds"]["median"]
    table.fill(f"{p}.peer_step", f"{seconds(their)} / {seconds(ours)} = {their / ours:.1f}x",
               their / ours >= 5 if p in TARGETS else None, ratio=their / ours, peer_seconds=their)
    parts = kind["phases"]["step"]["parts"]
    least = parts["rollout"] + parts["reference"] + parts["update"]
    table.fill(f"{p}.peer_kind", f"{seconds(least)} / {seconds(ours)} = {least / ours:.1f}x", None, ratio=least / ours,
               peer_seconds=least)


# ---------------------------------------------------------------- the run
class Work:
    """The tasks in turn, with the time left; what one of them cannot do is the reason of its rows."""

    def __init__(self, a, table):
        self.a, self.table, self.results, self.failed = a, table, {}, []
        self.tasks = []

    def add(self, name, rows, expected_s, does):
        self.tasks.append((name, rows, expected_s, does))

    def go(self, about):
        start, expected = time.monotonic(), 0.0
        for i, (name, rows, guess, does) in enumerate(self.tasks):
            gone = time.monotonic() - start
            left = sum(t[2] for t in self.tasks[i:]) * (gone / expected if expected else 1)
            note(f"[{i + 1}/{len(self.tasks)}] {name}: {clock(gone)} gone, about {clock(left)} left")
            try:
                does()
            except NotRun as e:
                note(f"  not run: {e}")
                self.table.why_not(rows, str(e))
            except Failed as e:
                note(f"  FAILED: {e}")
                self.failed.append(f"{name}: {e}")
                self.table.why_not(rows, str(e), "failed")
            expected += guess
            write(self.a, self.table, self.results, about, self.failed)  # whatever ends the run, what was measured stays


def need(results, key):
    if key not in results:
        raise NotRun("what it needs was not measured: " + key)
    return results[key]


def plan_forward(work, p):
    a, table, results = work.a, work.table, work.results

    def init():
        results[f"{p}.model"] = make_model(a, p)

    def forward():
        need(results, f"{p}.model")
        result = bench(a, "forward", p, "--groups", str(a.groups), "--phases", "vision,prefill,decode,logprob", "--repeats",
                       str(a.repeats))
        one = bench(a, "one group", p, "--phases", "decode", "--repeats", "2")
        result["one_group"] = one["phases"]["decode"]
        results[f"{p}.forward"] = result
        if table.rows["ceiling"]["state"] != "measured":
            fill_ceiling(table, result)
        fill_forward(table, p, result)

    rows = [f"{p}.{k}" for k in ("vision", "prefill", "decode", "logprob", "memory")]
    work.add(f"{p}, a random checkpoint", [], 60, init)
    work.add(f"{p}, vision, prefill, decode, logprob", rows + ["ceiling"], 60, forward)


def plan_training(work, p, kind):
    a, table, results = work.a, work.table, work.results
    rows = [f"{p}.{kind}{k}" for k in ("update", "step", "step_memory", "gap", "same") + (("decode", "logprob") if kind else ())]
    what = ["--lora", str(a.lora), "--phases", "decode,logprob,update,step"] if kind else ["--phases", "update,step"]
    called = "adapters" if kind else "training"

    def training():
        need(results, f"{p}.model")
        for recompute in ["none", "layer"] if a.recompute == "auto" else [a.recompute]:
            try:
                words = [*what, "--repeats", str(a.repeats), "--recompute", recompute, "--digest"]
                first = bench(a, f"{called}, recompute {recompute}", p, *words)
                break
            except NotRun as e:
                why = e
        else:
            raise why
        results[f"{p}.{kind}training"] = first
        fill_training(table, p, kind, [first], recompute)
        results[f"{p}.{kind}again"] = bench(a, f"{called} again", p, *words)
        fill_training(table, p, kind, [first, results[f"{p}.{kind}again"]], recompute)

    work.add(f"{p}, update and step{' with adapters' if kind else ''}, twice", rows, 240, training)


def plan_peer(work, p, missing):
    a, table, results = work.a, work.table, work.results
    both, steps = [f"{p}.peer_prefill", f"{p}.peer_decode"], [f"{p}.peer_step", f"{p}.peer_kind"]
    if not trains_whole(p):  # the peer has no adapters
        table.why_not(steps, WHOLE_DOES_NOT_FIT)
    if missing:
        table.why_not(both + (steps if trains_whole(p) else []), missing)
        return

    def forward():
        mine = need(results, f"{p}.forward")
        theirs = peer(a, "peer forward", p, "all", "--phases", "prefill,decode", "--repeats", str(a.repeats))
        results[f"{p}.peer_forward"] = theirs
        fill_peer(table, p, mine, theirs, a.groups)

    def step():
        mine = need(results, f"{p}.training")
        words = ["step", "--steps", "3"] + (["--micro", str(a.micro)] if a.micro else [])
        theirs = results[f"{p}.peer_step"] = peer(a, "peer step", p, *words)
        kind = results[f"{p}.peer_kind"] = peer(a, "peer step, kindest", p, *words, "--logits", "response")
        fill_peer_step(table, p, mine, theirs, kind)

    work.add(f"{p}, the peer's prefill and decode", both, 180, forward)
    if trains_whole(p):
        work.add(f"{p}, the peer's step", steps, 240, step)


def write(a, table, results, about, failed):
    counts = {s: table.count(s) for s in ("measured", "not run", "failed")}
    with open(os.path.join(a.out, "table.md"), "w") as f:
        f.write("\n".join(table.markdown(a, about)) + "\n")
    with open(os.path.join(a.out, "table.json"), "w") as f:
        json.dump({"about": about, "date": time.strftime("%Y-%m-%d"), "work": {k: getattr(a, k) for k in (
            "presets", "grid", "text", "group", "groups", "response", "dtype", "lora", "repeats", "recompute")}, "counts": counts,
            "failures": failed, "rows": list(table.rows.values()), "results": results}, f, indent=1)
    return counts


def version(a):
    try:
        done = subprocess.run([a.tempr1, "--version"], stdout=subprocess.PIPE, text=True)
        return done.stdout.splitlines()[0].split(" (")[0]
    except (OSError, IndexError):
        return "tempr1"


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tempr1", default="build/cuda/tempr1")
    p.add_argument("--device", default="cuda:0")
    p.add_argument("--out", default="build/cuda/bench", help="table.md, table.json and a log for every program run")
    p.add_argument("--work", help="folder of the random checkpoints, kept for the next time (default OUT/models)")
    p.add_argument("--presets", default="qwen2.5-vl-3b,qwen2.5-vl-7b", type=lambda s: s.split(","))
    p.add_argument("--grid", default="15,32,32", help="patches T,H,W (default 15,32,32: 3840 tokens)")
    p.add_argument("--text", type=int, default=256, help="text tokens (default 256: P = 4096)")
    p.add_argument("--group", type=int, default=8)
    p.add_argument("--groups", type=int, default=8, help="groups decoded together")
    p.add_argument("--response", type=int, default=256)
    p.add_argument("--dtype", choices=["bf16", "f32"], default="bf16")
    p.add_argument("--lora", type=int, default=16, help="rank of the adapters where not all weights fit")
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--recompute", choices=["auto", "none", "layer"], default="auto",
                   help="activations kept or computed again; auto: kept, if they fit")
    p.add_argument("--peer", default="../shared/bench/peer_transformers.py")
    p.add_argument("--python", default=sys.executable, help="a Python with torch and transformers")
    p.add_argument("--peer-device", help="default: --device")
    p.add_argument("--micro", type=int, default=0, help="sequences of the peer's step that are really run (default all)")
    p.add_argument("--not-run", metavar="REASON", help="run nothing: every row gets this reason")
    a = p.parse_args()
    a.work = a.work or os.path.join(a.out, "models")
    a.prompt = eval_grid(p, a.grid) // 4 + a.text
    return a


def eval_grid(p, grid):
    try:
        t, h, w = map(int, grid.split(","))
    except ValueError:
        p.error(f"--grid {grid}: expected T,H,W")
    return t * h * w


def main():
    a = parse()
    os.makedirs(a.work, exist_ok=True)
    name, reason, failed = "no GPU", "not started", []
    try:
        name = gpu(a)
    except NotRun as e:
        reason = str(e)
    except Failed as e:
        reason, failed = str(e), [str(e)]
    table = Table(reason)
    plan_rows(table, a)
    about = (f"{time.strftime('%Y-%m-%d')}, {version(a)}, {name}: prompt of {a.prompt} tokens ({a.grid} patches and {a.text} of text), "
             f"G = {a.group}, R = {a.response}, {a.dtype}, medians of {a.repeats}.")
    work = Work(a, table)
    work.failed = failed
    if name != "no GPU":
        missing = peer_missing(a)
        for p in a.presets:
            plan_forward(work, p)
            if trains_adapters(p):
                plan_training(work, p, "lora_")
            if trains_whole(p):
                plan_training(work, p, "")
            plan_peer(work, p, missing)
        work.go(about)
    counts = write(a, table, work.results, about, work.failed)
    print("\n".join(table.markdown(a, about)))
    note(f"bench-cuda: {counts['measured']} measured, {counts['not run']} not run, {len(work.failed)} failed; "
         f"{os.path.join(a.out, 'table.md')}, table.json")
    for line in work.failed:
        note("FAILED", line)
    return 1 if work.failed else 0


if __name__ == "__main__":
    sys.exit(main())
