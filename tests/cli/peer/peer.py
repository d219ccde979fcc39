"""Has the parts of peer_transformers.py that bench/peer_cuda.py replaces and the results that bench/cuda_table.py reads; every
phase takes as many seconds as its name has letters. Says where things were made and whether they were moved."""
import argparse, json, time

import torch


class Thing:
    def __init__(self, made):
        self.made, self.on = made, None

    def to(self, device):
        self.on = device.type
        return self


def load(a):
    return Thing(list(torch.inside))


def inputs(model, a):
    return {"ids": Thing(list(torch.inside))}


def random_responses(model, a):
    return Thing(list(torch.inside))


def phase(name):
    def run(model, a, x):
        begin = time.perf_counter()
        s = dict(median=float(len(name)), min=0.0, max=9.0, n=1)
        out = dict(seconds=s, where=list(torch.inside), model=[model.made, model.on], ids=[x["ids"].made, x["ids"].on],
                   responses=random_responses(model, a).on, waited=time.perf_counter() >= begin)
        if name == "decode":
            out.update(generate=dict(step_seconds=dict(s, median=0.5)), shared_static=dict(error="none here"),
                       shared_dynamic=dict(step_seconds=dict(s, median=0.25)))
        if name == "step":
            old = 0.0 if a.logits == "response" else 1.0
            out.update(parts=dict(rollout=1.0, old_logprob=old, reference=1.0, update=1.0))
        return out
    return run


PHASES = {name: phase(name) for name in ("prefill", "decode", "step")}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("command")
    for name in "model", "grid", "text", "dtype", "seed", "phases", "repeats", "steps":
        p.add_argument("--" + name)
    p.add_argument("-G"), p.add_argument("-R")
    p.add_argument("--logits", default="full")
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    model = load(a)
    names = a.phases.split(",") if a.phases else [a.command]
    print(json.dumps(dict(dtype=a.dtype, phases={n: PHASES[n](model, a, inputs(model, a)) for n in names})))
