#!/usr/bin/env python3
"""The PyTorch peer on a GPU: its own benchmark, unchanged, with model and inputs on the device.

    python bench/peer_cuda.py --peer ../shared/bench/peer_transformers.py --on cuda:0 step --model DIR --grid 15,32,32 ...

peer_transformers.py knows the CPU alone: it loads the model there, makes its inputs there, and reads the clock without
waiting for a device. This program imports it and changes just that: models and inputs move to --on, tensors that a phase
makes are made there, and the clock waits for the device before it is read. Everything else, the words behind included, is
the peer's. Each phase gets peak_gpu_gib (what PyTorch had allocated at most). --on cpu tests the way without a GPU.

Needs torch and transformers: pip install torch transformers torchvision
"""
import argparse, importlib.util, sys, time


def load_peer(path):
    spec = importlib.util.spec_from_file_location("peer_transformers", path)
    peer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)
    return peer


def move_to(peer, device):
    """Replaces what binds the peer to the CPU."""
    import torch
    cuda = device.type == "cuda"

    class Clock:
        def __getattr__(self, name):
            return getattr(time, name)

        @staticmethod
        def perf_counter():
            if cuda:
                torch.cuda.synchronize(device)
            return time.perf_counter()

    def made_on_the_cpu(make, moved):
        def made(*words):
            with torch.device("cpu"):  # generators are the CPU's, so the same seed gives the same inputs as there
                return moved(make(*words))
        return made

    def on_device(phase):
        def run(model, a, x):
            if cuda:
                torch.cuda.reset_peak_memory_stats(device)
            with torch.device(device):
                result = phase(model, a, x)
            if cuda:
                result["peak_gpu_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
            return result
        return run

    peer.time = Clock()
    peer.load = made_on_the_cpu(peer.load, lambda model: model.to(device))
    peer.inputs = made_on_the_cpu(peer.inputs, lambda x: {k: v.to(device) for k, v in x.items()})
    peer.random_responses = made_on_the_cpu(peer.random_responses, lambda ids: ids.to(device))
    peer.PHASES.update({name: on_device(phase) for name, phase in peer.PHASES.items()})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peer", required=True, help="peer_transformers.py")
    p.add_argument("--on", default="cuda:0", help="the device (default cuda:0)")
    a, rest = p.parse_known_args()
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as e:
        sys.exit(f"{e}: pip install torch transformers torchvision")
    device = torch.device(a.on)
    if device.type == "cuda":
        if not torch.cuda.is_available():
            sys.exit("this torch finds no GPU: it may be a build for the CPU alone")
        torch.cuda.set_device(device)
    peer = load_peer(a.peer)
    move_to(peer, device)
    sys.argv = [a.peer, *rest]
    peer.main()


if __name__ == "__main__":
    main()
