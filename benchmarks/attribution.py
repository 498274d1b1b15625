"""What attribution costs at GPT-2 small's shape: seconds as multiples of plain passes, and memory. All from one run.

    python benchmarks/attribution.py [--threads 2] [--repeats 5] [--methods eap,eap-ig-inputs]

A plain forward and backward of the same 16 rows of 16 random tokens are those of the package's own executor and, beside
it, of the Hugging Face model; gradients flow to the embeddings and no further, logits are read at the answer alone.
Every figure is the best of some repeats, taken in turn; the slow methods run once. Extra memory is the peak above that
of the loaded model and the bound inputs (tokens and the clean run), of one run in a process of its own.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

import torch
from shapes import random_gpt2, random_task

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.executor import SlotInputs
from acdc.execution.threads import fixed_threads
from acdc.progress import silent
from acdc.search.options import IntegralOptions
from acdc.search.registry import METHODS
from acdc.task.metrics import METRICS

STEPS, SLOW = 5, {"eap-ig-activations", "atp-star"}
# (forwards, backwards) that a method consists of, with a clean run at hand or not
PASSES = {"eap": (2, 1), "eap-ig-inputs": (1 + STEPS, STEPS), "clean-corrupted": (3, 2), "relp": (2, 1), "hisp": (1, 1)}


def memory(line: str) -> int:
    """Resident memory of this process in bytes: `VmRSS` now, `VmHWM` at its peak since the last reset."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) * 1024


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def plain_passes(behaviour: Behaviour) -> dict[str, Callable[[], object]]:
    """One forward, and one forward with a backward, of the executor and of the Hugging Face model."""
    (batch,) = behaviour.batches
    plain = behaviour.model.bridge.original_model

    def executor(gradient: bool) -> None:
        with torch.set_grad_enabled(gradient):
            embedded = batch.clean.blocks[0].clone().requires_grad_(gradient)
            logits = behaviour.executor.run_embedded(embedded, batch.positions, SlotInputs()).logits
            if gradient:
                behaviour.metric.per_row(logits, batch.answers).sum().backward()

    def hugging_face(gradient: bool) -> None:
        with torch.set_grad_enabled(gradient):
            embedded = plain.get_input_embeddings()(batch.tokens).detach().requires_grad_(gradient)
            logits = plain(inputs_embeds=embedded).logits[:, -1]
            if gradient:
                behaviour.metric.per_row(logits, batch.answers).sum().backward()

    return {
        "forward": lambda: executor(False),
        "forward and backward": lambda: executor(True),
        "Hugging Face forward": lambda: hugging_face(False),
        "Hugging Face forward and backward": lambda: hugging_face(True),
    }


def bound() -> Behaviour:
    model, task = random_gpt2(12, 12, 768, 50257, seed=0), random_task(50257, 16, 16, seed=1)
    return Behaviour(model, task, range(16), METRICS["logit_diff"])


def works(behaviour: Behaviour, methods: list[str]) -> dict[str, Callable[[], object]]:
    work = plain_passes(behaviour)
    for name in methods:
        work[name] = lambda run=METHODS[name].run: run(behaviour, IntegralOptions(steps=STEPS), silent)
    return work


def print_memory(name: str, threads: int) -> None:
    """The extra bytes of one piece of work, in this process."""
    with fixed_threads(threads):
        behaviour = bound()
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # start a new peak
        works(behaviour, [name] if name in METHODS else [])[name]()
        print(memory("VmHWM") - before)


def extra_memory(name: str, threads: int) -> int:
    command = [sys.executable, __file__, "--memory-of", name, "--threads", str(threads)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--methods", default="eap,eap-ig-inputs,clean-corrupted,relp,hisp,eap-ig-activations,atp-star")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print_memory(options.memory_of, options.threads)
        return
    best: dict[str, float] = {}
    with fixed_threads(options.threads):
        work = works(bound(), options.methods.split(","))
        for repeat in range(options.repeats):
            for name, once in work.items():
                if not (name in SLOW and repeat):
                    best[name] = min(best.get(name, float("inf")), seconds(once))
    forward, both = best["forward"], best["forward and backward"]
    theirs, their_both = best["Hugging Face forward"], best["Hugging Face forward and backward"]
    print("| what | seconds | of its own passes | of the same passes in Hugging Face | extra GiB |")
    print("| --- | --- | --- | --- | --- |")
    for name, took in best.items():
        ratios = ["", ""]
        if name in PASSES:
            forwards, backwards = PASSES[name]
            own = (forwards - backwards) * forward + backwards * both
            other = (forwards - backwards) * theirs + backwards * their_both
            ratios = [f"{took / own:.2f}", f"{took / other:.2f}"]
        extra = extra_memory(name, options.threads) / 2**30
        print(f"| {name} | {took:.3f} | {ratios[0]} | {ratios[1]} | {extra:.2f} |", flush=True)


if __name__ == "__main__":
    main()
