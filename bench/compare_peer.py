#!/usr/bin/env python3
"""One run of `tempr1 bench` and of the PyTorch peer on the same work, as ratios.

    python bench/compare_peer.py --peer ../shared/bench/peer_transformers.py --tempr1 build/release/tempr1 --shapes xs,s,m

Needs a Python with torch and transformers for the peer (start this script with it). The two programs alternate: ours, peer,
ours; ours counts with the median of its runs. A ratio above 1 says that tempr1 is so many times faster (or smaller).
"""
import argparse, json, os, statistics, subprocess, sys

GRIDS = {"xs": "16,16,24", "s": "16,16,24", "m": "16,12,16"}
RESPONSE = {"xs": 64, "s": 64, "m": 32}
MICRO = {"xs": 4, "s": 1, "m": 1}  # of the 8 identical sequences, measured and scaled by the peer itself


def run(command):
    print("+", " ".join(command), file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(a, shape, folder, dtype):
    return run([a.tempr1, "bench", "--model", folder, "--grid", GRIDS[shape], "--text", "64", "--group", "8", "--response",
                str(RESPONSE[shape]), "--seed", "1", "--dtype", dtype, "--recompute", a.recompute, "--repeats", str(a.repeats),
                *(["--offload", a.offload] if a.offload else [])])


def peer(a, shape, folder, phases, *more):
    extra = ["--share-reference"] if shape == "m" else []
    return run([sys.executable, a.peer, "all", "--shape", shape, "--model", folder, "--micro", str(MICRO[shape]), "--repeats",
                str(a.repeats), "--phases", phases, "--json", *extra, *more])


def seconds(phase):
    value = phase["seconds"]
    return value["median"] if isinstance(value, dict) else value


def middle(runs, pick):
    return statistics.median(pick(r["phases"]) for r in runs)


def rows(mine, theirs, kind):
    """(name, ours, theirs, what is asked) for every phase."""
    them = theirs["phases"]
    yield "vision tower", middle(mine, lambda p: seconds(p["vision"])), seconds(them["vision"]), {"xs": 1.2, "s": 1, "m": 1}
    yield "prefill", middle(mine, lambda p: seconds(p["prefill"])), seconds(them["prefill"]), {"xs": 1.2, "s": 1, "m": 1}
    best = min(v["step_seconds"]["median"] for v in them["decode"].values() if isinstance(v, dict) and "step_seconds" in v)
    step = middle(mine, lambda p: p["decode"]["shared"]["step_seconds"]["median"])
    yield "decode, a token step of 8 (generate)", step, them["decode"]["generate"]["step_seconds"]["median"], 4
    yield "decode, a token step of 8 (its best form)", step, best, None
    parts = them["step"]["parts"]
    mine_update = middle(mine, lambda p: p["step"]["parts"]["update"])
    mine_step = middle(mine, lambda p: seconds(p["step"]))
    yield "update", mine_update, parts["update"], 7
    yield "full GRPO step", mine_step, seconds(them["step"]), 8
    if kind:
        kindest = kind["phases"]["step"]["parts"]
        yield ("full GRPO step, kindest peer", mine_step, kindest["rollout"] + kindest["reference"] + kindest["update"], 5)
    yield ("peak memory, GiB", middle(mine, lambda p: p["step"]["peak_rss_gib"]), them["step"]["peak_rss_gib"], {"xs": 2, "s": 2})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer", required=True)
    p.add_argument("--tempr1", default="build/release/tempr1")
    p.add_argument("--shapes", default="xs")
    p.add_argument("--out", default="out/peer", help="folder of the random checkpoints and of the JSON results")
    p.add_argument("--repeats", type=int, default=3)
    p.add_argument("--no-kindest", action="store_true", help="leave out the peer's kindest form (one more step)")
    p.add_argument("--dtype", default="f32", help="of tempr1; the peer computes in float32")
    p.add_argument("--recompute", choices=["none", "layer"], default="none", help="of tempr1: activations kept, or computed again")
    p.add_argument("--offload", help="folder where tempr1 keeps moments and reference; none: in memory")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    for shape in a.shapes.split(","):
        folder = os.path.join(a.out, shape)
        if not os.path.exists(os.path.join(folder, "config.json")):
            run([sys.executable, a.peer, "make", "--shape", shape, "--out", folder, "--json"])
        mine = [ours(a, shape, folder, a.dtype)]
        theirs = peer(a, shape, folder, "vision,prefill,decode,step")
        mine.append(ours(a, shape, folder, a.dtype))
        kind = None if a.no_kindest else peer(a, shape, folder, "step", "--logits", "response")
        print(f"\n{shape}: {mine[0]['isa']}, {a.dtype}, recompute {a.recompute}, {mine[0]['threads']} threads; load {os.getloadavg()[0]:.2f}\n\n"
              f"| phase | tempr1 | peer | ratio | asked |\n|---|---|---|---|---|")
        for name, us, them, asked in rows(mine, theirs, kind):
            want = asked.get(shape) if isinstance(asked, dict) else asked
            print(f"| {name} | {us:.4g} | {them:.4g} | {them / us:.2f} | {want or ''} |")
        if shape != "m":
            cold = run([a.tempr1, "bench", "--model", folder, "--grid", GRIDS[shape], "--text", "64", "--cold"])
            slow = run([sys.executable, a.peer, "cold", "--shape", shape, "--model", folder, "--repeats", str(a.repeats), "--json"])
            for name, key, asked in (("model loaded", "model_loaded", 20), ("first forward done", "first_forward", 4)):
                us = cold[key]["median"] if isinstance(cold[key], dict) else cold[key]
                print(f"| process start to {name} | {us:.4g} | {slow[key]['median']:.4g} | {slow[key]['median'] / us:.2f} | {asked} |")
        sys.stdout.flush()
        with open(os.path.join(a.out, shape + ".json"), "w") as f:
            json.dump({"tempr1": mine, "peer": theirs, "kindest": kind}, f)


if __name__ == "__main__":
    main()
