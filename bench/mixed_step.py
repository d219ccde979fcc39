#!/usr/bin/env python3
"""What a mixed-task step costs against the mean of its tasks' own steps.

    python bench/mixed_step.py --tempr1 build/release/tempr1 --out /somewhere/empty [--model DIR] [--steps 30] [--json]

Makes a synthetic corpus with rows of five tasks, runs GRPO on each task alone and on all of them mixed (the same clips,
prompts per step, group, lengths and weights at the start), and compares the time of a step. Since a mixed batch does not
hold the tasks in equal shares, what is expected of it is the mean of the tasks' own steps weighted with the prompts that
were really drawn (tasks.NAME.prompts in metrics.jsonl). Runs alternate, --repeats times; a task's and the mix's figure is
the median over its steps of all repeats, the first --warm steps of each run left out (clips are decoded there). A
response may end early; with the untrained model of the default nearly all run to --response tokens, and the mean
lengths are printed beside the times so that a difference of work cannot pass for one of speed.

The ratio must be at most 1 within the noise of the machine: run it on one that does nothing else. The second ratio is of
processor seconds, which a busy machine disturbs less: of a whole run less those of one that ends after the warm steps
(reading rows and starting are no part of a step), divided by the steps between.
"""
import argparse, json, os, statistics, subprocess, sys

TASKS = ["tg", "dtg", "vhd", "gvqa", "tal"]


def run(tempr1, *words):
    command = [tempr1, *words]
    print("+", " ".join(command), file=sys.stderr)
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"exit status {child.returncode}")
    return usage.ru_utime + usage.ru_stime


def make_corpus(a):
    corpus = os.path.join(a.out, "corpus")
    run(a.tempr1, "data", "synth", "--out", corpus, "--tasks", ",".join(TASKS), "--train", str(a.clips), "--tune", "2",
        "--test", "2", "--seed", "1")
    rows = [json.loads(line) for line in open(os.path.join(corpus, "train.jsonl"))]
    for task in TASKS:
        with open(os.path.join(a.out, f"{task}.jsonl"), "w") as f:
            f.writelines(json.dumps(r) + "\n" for r in rows if r["task"] == task)
    return {task: sum(r["task"] == task for r in rows) for task in TASKS}


def make_model(a):
    """The demo's tiny checkpoint with its own tokenizer: nothing from outside is needed."""
    if a.model:
        return a.model
    demo = os.path.join(a.out, "demo")
    run(a.tempr1, "demo", "--out", demo, "--clips", "16", "--test-clips", "16", "--sft-steps", "1", "--grpo-steps", "1", "--quiet")
    return os.path.join(demo, "seed-1", "model")


def config(a, model, counts, tasks, name, steps):
    """Every task comes with the same weight in all: small sets are repeated."""
    most = max(counts[t] for t in tasks)
    path = os.path.join(a.out, f"{name}.yaml")
    videos = os.path.abspath(os.path.join(a.out, "corpus", "videos"))
    json.dump({
        "algorithm": "grpo", "model": os.path.abspath(model), "out": os.path.abspath(os.path.join(a.out, "runs", name)),
        **({"tokenizer": os.path.abspath(a.tokenizer)} if a.tokenizer else {}),
        "data": [{"rows": os.path.abspath(os.path.join(a.out, f"{t}.jsonl")), "videos": videos, "weight": most / counts[t],
                  "reward": "tempr1", "prompt": "no-think"} for t in tasks],
        "video": {"fps": 2, "max_frames": 32, "total_pixels": 401408, "min_pixels": 3136,
                  "cache": os.path.abspath(os.path.join(a.out, "cache"))},
        "rollout": {"group": a.group, "max_tokens": a.response},
        "grpo": {"prompts_per_step": a.prompts, "kl": 0.04},
        "optim": {"lr": 0},  # the weights stay: every step does the same work
        "train": {"dtype": a.dtype, "steps": steps, "save_every": 0, "seed": 1},
    }, open(path, "w"))
    return path


def steps_of(a, name):
    lines = [json.loads(line) for line in open(os.path.join(a.out, "runs", name, "metrics.jsonl"))][a.warm:]
    for line in lines:
        s = line["seconds"]
        yield {"seconds": s["total"] - (s["save"] or 0) - (s["stall"] or 0), "length": line["response_length"],
               "prompts": {t: v["prompts"] for t, v in line["tasks"].items()}}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tempr1", required=True)
    p.add_argument("--out", required=True, help="a folder for corpus and runs; it must be new or empty")
    p.add_argument("--model", help="checkpoint; default: the demo's tiny one")
    p.add_argument("--tokenizer", help="tokenizer folder, where the checkpoint has none")
    p.add_argument("--clips", type=int, default=40)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--warm", type=int, default=5)
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--prompts", type=int, default=10)
    p.add_argument("--group", type=int, default=8)
    p.add_argument("--response", type=int, default=64)
    p.add_argument("--dtype", default="f32")
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    a.tempr1 = os.path.abspath(a.tempr1)
    if os.path.isdir(a.out) and os.listdir(a.out):
        sys.exit(f"{a.out} is not empty")
    os.makedirs(os.path.join(a.out, "runs"), exist_ok=True)
    counts, model = make_corpus(a), make_model(a)
    taken = {name: [] for name in [*TASKS, "mixed"]}
    cpu = {name: [] for name in taken}
    for repeat in range(a.repeats):
        for name in taken:
            run_name = f"{name}-{repeat}"
            tasks, used = TASKS if name == "mixed" else [name], []
            for steps, this in (a.warm, run_name + "-warm"), (a.warm + a.steps, run_name):
                used.append(run(a.tempr1, "train", config(a, model, counts, tasks, this, steps), "--quiet"))
            cpu[name].append((used[1] - used[0]) / a.steps)
            taken[name] += steps_of(a, run_name)
    middle = {name: statistics.median(s["seconds"] for s in steps) for name, steps in taken.items()}
    drawn = {t: sum(s["prompts"].get(t, 0) for s in taken["mixed"]) for t in TASKS}
    share = {t: drawn[t] / sum(drawn.values()) for t in TASKS}
    expected = sum(share[t] * middle[t] for t in TASKS)
    cpu = {name: statistics.median(values) for name, values in cpu.items()}
    cpu_expected = sum(share[t] * cpu[t] for t in TASKS)
    result = {"seconds": middle, "shares": share, "expected": expected, "ratio": middle["mixed"] / expected,
              "cpu_seconds": cpu, "cpu_expected": cpu_expected, "cpu_ratio": cpu["mixed"] / cpu_expected,
              "length": {n: statistics.mean(s["length"] for s in steps) for n, steps in taken.items()},
              "steps": {n: len(steps) for n, steps in taken.items()}}
    if a.json:
        print(json.dumps(result))
        return
    print(f"{'':8} {'seconds a step':>15} {'processor seconds':>18} {'response tokens':>16} {'share of the mix':>17}")
    for name in taken:
        print(f"{name:8} {middle[name]:15.4f} {cpu[name]:18.4f} {result['length'][name]:16.1f} "
              + (f"{share[name]:17.3f}" if name in share else ""))
    print(f"mixed against the weighted mean of its tasks' own: {middle['mixed']:.4f} / {expected:.4f} = {result['ratio']:.3f}; "
          f"processor seconds {cpu['mixed']:.4f} / {cpu_expected:.4f} = {result['cpu_ratio']:.3f}")


if __name__ == "__main__":
    main()
