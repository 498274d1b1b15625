"""What a first GPU has to show, in one command of at most eight minutes, which goes on where it was cut off.

    python benchmarks/gpu.py [--out gpu-figures] [--parts decisions,acdc,attribution,retreat] [--seconds 480]
    python benchmarks/gpu.py --dry        the same on the CPU with small shapes: whether it works, no figures

Each part runs in a process of its own and leaves a JSON file in the folder; a part that has one is not run again.

- decisions: exact ACDC and EAP-IG on the bundled model, on this device against the CPU, in float32. The first test that
  is decided otherwise must have been near the threshold: within `MARGIN` of it.
- acdc: exact ACDC at GPT-2 small's shape on 200 rows like those of IOI (ACDC's authors' code: 18,783 s on an H100).
- attribution: EAP-IG with 5 steps at the shape of an 8B model in bfloat16 on 100 rows. Its peak memory is compared with
  the plan, whose FLOPs give the share of the rate of one large product; the plan is made beside it, on the CPU.
- retreat: EAP with too little memory for a batch. Batches are halved until they fit, and the scores are the same.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.append(sys.path.pop(0))  # else acdc.py beside this file would hide the package of its name

from acdc.idle_threads import short_waits

os.environ.update(short_waits(os.environ))

import numpy as np
import torch
from shapes import ioi_like, random_gpt2, random_llama
from transformers import LlamaConfig

from acdc.artefacts.scores import Decision
from acdc.behaviour.behaviour import Behaviour
from acdc.execution.dry_run import dry_run
from acdc.execution.machine import free_memory, resident_memory, timed
from acdc.execution.threads import fixed_threads
from acdc.files import write_json
from acdc.model.load import load_model
from acdc.model.shape import find_model, shape_of
from acdc.planning.machines import Machine
from acdc.planning.search_plan import plan_search
from acdc.progress import silent
from acdc.search import memory
from acdc.search.acdc.search import acdc
from acdc.search.memory import USABLE, working_bytes
from acdc.search.methods.eap import eap
from acdc.search.methods.eap_ig import eap_ig_inputs
from acdc.search.options import IntegralOptions, OrderOptions, RowOptions
from acdc.search.registry import METHODS
from acdc.search.settings import DiscoverySettings
from acdc.task.load import load_task
from acdc.task.metrics import METRICS

MARGIN = 1e-3  # of a threshold, or of the largest score: what rounding in float32 may change
TARGETS = {"acdc": 60.0, "attribution": 60.0}  # seconds
PLAN, PLANNED_WITHIN = "plan", 0.2  # of the measured memory
OPTIONS = IntegralOptions(steps=5)


@dataclass(frozen=True)
class Sizes:
    """(layers, heads, width, vocabulary) of a GPT-2; its rows and the share of the metric's range that is its
    threshold; the fields of a LLaMA's configuration, and its rows; tasks of the bundled model, and their rows."""

    gpt2: tuple[int, int, int, int]
    gpt2_rows: int
    share: float
    llama: dict[str, int]
    llama_rows: int
    tasks: tuple[str, ...]
    task_rows: int


def _llama(layers: int, heads: int, kv_heads: int, width: int, hidden: int, vocabulary: int) -> dict[str, int]:
    heads_and_layers = {"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads}
    return heads_and_layers | {"hidden_size": width, "intermediate_size": hidden, "vocab_size": vocabulary}


FULL = Sizes((12, 12, 768, 50257), 200, 0.01, _llama(32, 32, 8, 4096, 14336, 128256), 100, ("induction", "ioi"), 32)
DRY = Sizes((2, 2, 32, 100), 6, 0.05, _llama(2, 4, 2, 32, 64, 100), 6, ("induction",), 8)
LENGTH, SEED = 18, 0


def decisions(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """ACDC's decisions and EAP-IG's scores, here and on the CPU."""
    cases = {}
    for task_name in sizes.tasks:
        for metric in ("logit_diff", "kl"):
            tests, scores, threshold = [], [], None
            for where in ("cpu", str(device)):
                model = load_model("trio", device=where)
                behaviour = Behaviour(model, load_task(task_name, model), range(sizes.task_rows), METRICS[metric])
                threshold = threshold or 0.01 * abs(float(np.subtract(*behaviour.ends())))
                tests.append(acdc(behaviour, OrderOptions(threshold=threshold, screen=0), silent).tests)
                scores.append(eap_ig_inputs(behaviour, OPTIONS, silent).values)
            off = np.abs(scores[1] - scores[0]).max() / np.abs(scores[0]).max()
            assert threshold is not None
            case = {"tests": len(tests[0]), "scores_off": float(off), **compare(*tests, threshold)}
            cases[f"{task_name}, {metric}"] = case
    right = all(case["agree"] and case["scores_off"] <= MARGIN for case in cases.values())
    return {"passed": right, "cases": cases}


def compare(ours: Sequence[Decision], theirs: Sequence[Decision], threshold: float) -> dict[str, Any]:
    """Where two runs of ACDC part, and by what share of the threshold the first of them was decided there."""
    for place, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if (one.candidate, one.kept) != (other.candidate, other.kept):
            margin = abs(one.after - one.before - threshold) / threshold
            agree = one.candidate == other.candidate and margin <= MARGIN
            return {"agree": agree, "differs_at": place, "margin": margin}
    return {"agree": len(ours) == len(theirs), "differs_at": None, "margin": None}


def exact(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Exact ACDC at GPT-2 small's shape."""
    model = random_gpt2(*sizes.gpt2, seed=SEED, device=device)
    task = ioi_like(sizes.gpt2[-1], sizes.gpt2_rows, LENGTH, SEED)
    behaviour = Behaviour(model, task, range(len(task.rows)), METRICS["logit_diff"])
    threshold = sizes.share * abs(float(np.subtract(*behaviour.ends())))
    before, found = model.components.work.snapshot(), []
    took = timed(lambda: found.append(acdc(behaviour, OrderOptions(threshold=threshold, screen=0), silent)), device)
    flops = (model.components.work - before).flops
    return {
        "seconds": took,
        "passed": took <= TARGETS["acdc"],
        "kept": int(found[0].kept.sum()),
        "tests": len(found[0].tests),
        "edges": model.graph.n_edges,
        "flops": flops,
        "share_of_peak": flops / took / product_rate(device, torch.float32),
    }


def attribution(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """EAP-IG at an 8B model's shape in bfloat16; what the plan says of it is read by `table`."""
    model = random_llama(LlamaConfig(**sizes.llama), SEED, device, "bfloat16")
    task = ioi_like(sizes.llama["vocab_size"], sizes.llama_rows, LENGTH, SEED)
    rate, found = product_rate(device, torch.bfloat16), []
    forget_peak(device)

    def work() -> None:
        behaviour = Behaviour(model, task, range(len(task.rows)), METRICS["logit_diff"])
        found.append(eap_ig_inputs(behaviour, OPTIONS, silent))

    took = timed(work, device)
    scores = found[0]
    return {
        "seconds": took,
        "passed": bool(took <= TARGETS["attribution"] and np.isfinite(scores.values).all()),
        "edges": len(scores.values),
        "batch_splits": scores.batch_splits,
        "peak": peak(device),
        "rate": rate,
    }


def plan(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """What the plan says of the attribution, from shapes alone."""
    with tempfile.TemporaryDirectory() as folder:
        LlamaConfig(**sizes.llama, architectures=["LlamaForCausalLM"]).save_pretrained(folder)
        on_gpu = device.type == "cuda"
        gpus, free = (Machine.parse("h100").devices, free_memory(device)) if on_gpu else ((), None)
        base = 0 if on_gpu else resident_memory() or 0
        task = ioi_like(sizes.llama["vocab_size"], sizes.llama_rows, LENGTH, SEED)
        settings = DiscoverySettings(
            method=METHODS["eap-ig-inputs"], limit=sizes.llama_rows, edges=1, options={"steps": OPTIONS.steps}
        )
        with dry_run() as tracker:
            shape = shape_of(find_model(folder, device="cpu", dtype="bfloat16"), gpus)
            found = plan_search(tracker, shape, task, settings, 0, free)
    return {"peak": base + found.memory.peak, "flops": found.most.flops, **asdict(found.memory)}


def retreat(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Scores of a batch with a third of the memory that it needs, and with enough."""
    model = random_gpt2(*sizes.gpt2, seed=SEED, device=device)
    task = ioi_like(sizes.gpt2[-1], 32, LENGTH, SEED)
    behaviour = Behaviour(model, task, range(32), METRICS["logit_diff"])
    whole = eap(behaviour, RowOptions.of({}), silent)
    needed = working_bytes(behaviour, "eap", max(behaviour.batches, key=lambda batch: batch.tokens.numel()))
    with limited(device, needed / 3):
        split = eap(behaviour, RowOptions.of({}), silent)
    off = float(np.abs(split.values - whole.values).max() / np.abs(whole.values).max())
    passed = split.batch_splits > whole.batch_splits and off <= MARGIN
    return {"passed": passed, "batch_splits": split.batch_splits, "off": off}


@contextmanager
def limited(device: torch.device, room: float) -> Iterator[None]:
    """A block with so many free bytes: a GPU refuses more while a batch is at work, a CPU before it begins."""
    if device.type == "cpu":
        with patch.object(memory, "free_memory", lambda device: room / USABLE["cpu"]):
            yield
        return
    torch.cuda.empty_cache()
    share = (torch.cuda.memory_allocated(device) + room) / torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(share, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs per second of one large product."""
    size = 8192 if device.type == "cuda" else 512
    x = torch.randn((size, size), device=device, dtype=dtype)
    times = [timed(lambda: x @ x, device) for _ in range(5)]
    return 2 * size**3 / min(times)


def forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak(device: torch.device) -> int:
    """Bytes at most since then: of tensors on a GPU, of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


PARTS: dict[str, Callable[[Sizes, torch.device], dict[str, Any]]] = {
    "decisions": decisions,
    "acdc": exact,
    "attribution": attribution,
    "retreat": retreat,
    PLAN: plan,
}


def run_part(name: str, options: argparse.Namespace) -> None:
    """Run a part in this process and write what it has found."""
    device = torch.device("cpu" if options.dry else "cuda")
    where = "cpu" if options.dry else torch.cuda.get_device_name(device)
    started = time.perf_counter()
    with fixed_threads(2 if options.dry else 8):
        found = PARTS[name](DRY if options.dry else FULL, device)
    write_json(options.out / f"{name}.json", {"device": where, "took": time.perf_counter() - started, **found})


def start(name: str, options: argparse.Namespace) -> subprocess.Popen:
    words = [sys.executable, __file__, "--run", name, "--out", str(options.out), *(["--dry"] if options.dry else [])]
    return subprocess.Popen(words)


def run_all(options: argparse.Namespace) -> list[str]:
    """Run the parts that are missing until the time is up, the plan beside them; those that failed or were cut off."""
    until = time.monotonic() + options.seconds
    names = [*options.parts, *([PLAN] if "attribution" in options.parts else [])]
    missing = [name for name in names if not (options.out / f"{name}.json").exists()]
    beside = [(name, start(name, options)) for name in missing if name == PLAN]
    failed = []
    for name in (name for name in missing if name != PLAN):
        if time.monotonic() < until:
            failed += wait(name, start(name, options), until)
        else:
            failed.append(f"{name}: not begun")
    for name, process in beside:
        failed += wait(name, process, until)
    return failed


def wait(name: str, process: subprocess.Popen, until: float) -> list[str]:
    try:
        code = process.wait(max(1.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return [f"{name}: cut off, run the command again"]
    return [f"{name}: exit code {code}"] if code else []


def table(folder: Path) -> tuple[str, bool]:
    """(what the parts have found as a table, whether all of it is as it should be)."""
    files = {name: folder / f"{name}.json" for name in PARTS}
    found = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    planned, rows = found.pop(PLAN, None), []
    if planned and "attribution" in found:
        one = found["attribution"]
        one["share_of_peak"] = planned["flops"] / one["seconds"] / one["rate"]
        one["peak_to_plan"] = one["peak"] / planned["peak"]
        near = one["device"] == "cpu" or abs(one["peak_to_plan"] - 1) <= PLANNED_WITHIN  # a CPU's is the libraries'
        one["passed"] = one["passed"] and near
    for name, one in found.items():
        shown = {key: value for key, value in one.items() if key not in ("passed", "device", "cases", "took")}
        for case, values in one.get("cases", {}).items():
            shown[case] = "equal" if values["differs_at"] is None else f"differs at {values['differs_at']}"
        words = ", ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items()
        )
        rows.append(f"| {name} | {'yes' if one['passed'] else 'NO'} | {one['took']:.1f} | {words} |")
    head = "| part | as it should be | seconds | figures |\n|---|---|---|---|"
    return "\n".join([head, *rows]), all(one["passed"] for one in found.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu-figures"))
    parser.add_argument("--parts", type=lambda text: text.split(","), default=[name for name in PARTS if name != PLAN])
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--dry", action="store_true", help="on the CPU, with small shapes")
    parser.add_argument("--run", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - PARTS.keys():
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    if not options.dry and not torch.cuda.is_available():
        parser.error("this machine has no GPU: use --dry to see whether the script works")
    options.out.mkdir(parents=True, exist_ok=True)
    if options.run:
        run_part(options.run, options)
        return
    failed = run_all(options)
    shown, right = table(options.out)
    print(shown)
    print("\n".join(failed), file=sys.stderr)
    sys.exit(1 if failed else 0 if right or options.dry else 2)


if __name__ == "__main__":
    main()
