"""Bad input: one clear sentence on stderr, exit code 2, no traceback, nothing lost."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import command_in
from run_records import without_digests
from safetensors.torch import load_file, save_file

from acdc.model.sources import BUNDLED

ROW = {"clean": [5, 6, 7], "corrupted": [5, 8, 7], "correct": [9], "incorrect": [10]}


def write(name: str, text: str) -> None:
    Path(name).write_text(text)


def rows(*changes: dict) -> str:
    return "\n".join(json.dumps({**ROW, **change}) for change in changes)


def model_folder(config: dict | None = None) -> Path:
    """A copy of the bundled model to damage."""
    folder = Path("m")
    shutil.copytree(BUNDLED["trio"], folder)
    if config is not None:
        record = json.loads((folder / "config.json").read_text())
        write("m/config.json", json.dumps({**record, **config}))
    return folder


def weights_with_nan() -> None:
    path = model_folder() / "model.safetensors"
    weights = load_file(path)
    weights["transformer.wte.weight"][:, 0] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})


def truncated_weights() -> None:
    path = model_folder() / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def two_words_of_one_id() -> None:
    path = model_folder() / "tokenizer.json"
    record = json.loads(path.read_text())
    vocabulary = record["model"]["vocab"]
    vocabulary["Mary"] = vocabulary["John"]
    path.write_text(json.dumps(record))


def a_word_twice() -> None:
    path = model_folder() / "tokenizer.json"
    path.write_text(path.read_text().replace('"vocab": {', '"vocab": {"Mary": 3,', 1))


def pickled_weights() -> None:
    folder = model_folder()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def nothing() -> None:
    """No preparation."""


MODELS = [
    ("--model no/such/folder/here", nothing, "does not exist"),
    ("--model ./nowhere", nothing, "does not exist"),
    ("--model ~nosuchuser/x/y", nothing, "does not exist"),
    ("--model " + "x" * 300, nothing, "cannot be fetched"),
    ("--model f", lambda: write("f", ""), "is a file"),
    ("--model m", lambda: Path("m").mkdir(), "has no config.json"),
    ("--model m", lambda: (Path("m").mkdir(), write("m/config.json", "{")), "not valid JSON"),
    ("--model m", lambda: (Path("m").mkdir(), write("m/config.json", "[]")), "must hold a JSON object"),
    ("--model m", lambda: (Path("m").mkdir(), write("m/config.json", "{}")), "names no architecture"),
    (
        "--model m",
        lambda: model_folder({"architectures": ["T5ForConditionalGeneration"]}),
        "'T5ForConditionalGeneration' is not supported",
    ),
    ("--model m", lambda: model_folder({"architectures": ["MambaForCausalLM"]}), "'MambaForCausalLM' is not supported"),
    ("--model m", lambda: model_folder({"architectures": ["Own"], "auto_map": {"a": "b"}}), "runs no code"),
    ("--model m", lambda: model_folder({"architectures": 5}), "names no architecture"),
    ("--model m", lambda: model_folder({"model_type": "llama"}), "model_type means LlamaForCausalLM"),
    ("--model m", lambda: model_folder({"n_head": 0}), "0 must be between 1 and"),
    ("--model m", lambda: model_folder({"vocab_size": "many"}), "cannot be loaded"),
    ("--model m", lambda: model_folder({"n_embd": 32}), "in another shape"),
    ("--model m", lambda: model_folder({"n_layer": 1}), "has 1 layers"),
    ("--model m", lambda: model_folder({"n_layer": 9}), "lack"),
    ("--model m", pickled_weights, "is a pickle"),
    ("--model m", truncated_weights, "are damaged"),
    ("--model m", a_word_twice, "'Mary' occurs twice"),
    ("--model m", two_words_of_one_id, "'Mary' the same id"),
    ("--revision main", nothing, "--revision main works only with models of the hub, and 'trio' is on this machine"),
    ("--model m --revision main", lambda: model_folder() and None, "and 'm' is on this machine"),
    ("--model m", weights_with_nan, "not finite"),
    ("--device cuda:99", nothing, "not available on this machine"),
    ("--device gpu", nothing, "is not one of auto"),
    ("--device meta", nothing, "is not one of auto"),
    ("--dtype float8", nothing, "float8"),
]

TASKS = [
    ("--task nowhere.jsonl", nothing, "neither a bundled task"),
    ("--task ~nosuchuser/t.jsonl", nothing, "neither a bundled task"),
    ("--task t.jsonl", lambda: write("t.jsonl", ""), "has no rows"),
    ("--task t.jsonl", lambda: Path("t.jsonl").write_bytes(b"\xff\xfe\x00"), "not UTF-8"),
    ("--task t.jsonl", lambda: write("t.jsonl", rows({}) + "\n{"), "t.jsonl, line 2: not valid JSON"),
    ("--task t.jsonl", lambda: write("t.jsonl", rows({}, {"corrupted": [1]})), "line 2: clean has 3 tokens"),
    ("--task t.jsonl", lambda: write("t.jsonl", rows({"clean": [5, 6, 9999]})), "line 1: clean has token id 9999"),
    ("--task t.jsonl", lambda: write("t.jsonl", '{"clean": [NaN], "corrupted": [1]}'), "NaN is not a value"),
    ("--task t.jsonl", lambda: write("t.jsonl", '{"clean": [' + "9" * 5000 + "]}"), "a number in it is too long"),
    ("--task t.jsonl", lambda: write("t.jsonl", "[" * 100_000), "nested too deeply"),
    ("--task t.jsonl", lambda: write("t.jsonl", rows({"id": "\ud800"})), "not valid Unicode"),
    ("--task t.jsonl", lambda: write("t.jsonl", rows({"clean": "a b", "corrupted": "c d"})), "does not know"),
    ("--task t.jsonl --metric logit_diff", lambda: write("t.jsonl", rows({"incorrect": []})), "needs incorrect"),
    ("--task t.jsonl", lambda: write("t.jsonl", rows({"corrupted": [5, 6, 7]})), "do not tell them apart"),
    ("--task t.csv", lambda: write("t.csv", '"open'), "t.csv, line 1"),
    ("--task t.json", lambda: write("t.json", "{}"), "'prompts'"),
    ("--task t.yaml", lambda: write("t.yaml", ""), "must end in"),
]

OPTIONS = [
    ("--method magic", nothing, "'magic' is not one of"),
    ("--metric magic", nothing, "'magic' is not one of"),
    ("--ablation magic", nothing, "magic"),
    ("--level magic", nothing, "--level 'magic' is not one of edges, nodes, coordinates"),
    ("--threshold nan", nothing, "must be a positive number"),
    ("--threshold inf", nothing, "must be a positive number"),
    ("--threshold -1", nothing, "must be a positive number"),
    ("--threshold much", nothing, "valid number"),
    ("--edges 5", nothing, "takes --threshold, not --edges"),
    ("--method eap --edges 0", nothing, "must be at least 1"),
    ("--method eap --edges 9999", nothing, "more than the graph's 479"),
    ("--method eap --edges 5 --faithfulness 0.5", nothing, "only one of"),
    ("--method eap --faithfulness 1.5", nothing, "at most 1"),
    ("--method eap --metric kl", nothing, "gradient there is zero"),
    ("--method eap --metric accuracy", nothing, "step function"),
    ("--limit 0", nothing, "must be at least 1"),
    ("--limit 129", nothing, "128 rows"),
    ("--batch-size 0", nothing, "must be at least 1"),
    ("--seed -1", nothing, "must not be negative"),
    ("--threads 0", nothing, "must be between"),
    ("--method ugs --level nodes", nothing, "--level nodes works only with acdc, exact, eap"),
    ("--method exact --direct-edges", nothing, "--direct-edges works only with acdc, not with exact"),
    (
        "--method eap --sender-order ascending",
        nothing,
        "--sender-order works only with acdc, acdc-complete, hybrid, not with eap",
    ),
    (
        "--method eap --steps 3",
        nothing,
        "--steps works only with hybrid, eap-ig-inputs, eap-ig-activations, ensemble, not with eap",
    ),
    ("--method eap --updates 3", nothing, "--updates works only with subnetwork-probing, edge-pruning, ugs"),
    ("--method eap-ig-inputs --steps 1", nothing, "an integral needs two points"),
    ("--method ugs --updates 0", nothing, "must be at least 1"),
    ("--verify-rows 0", nothing, "--verify-rows 0 must be at least 1"),
    ("--choose greedy", nothing, "works only with methods that score"),
    ("--method eap --choose upwards", nothing, "upwards"),
    ("--method eap --level nodes --choose greedy", nothing, "works only with methods that score edges"),
    ("--choose signed", nothing, "works only with methods that score"),
    ("--method eap --level nodes --choose paths", nothing, "works only with methods that score edges"),
    ("--method ugs --choose signed", nothing, "these only rank: use top, greedy or paths"),
    ("--method eap --bootstrap 50", nothing, "works only with --choose signed or paths"),
    ("--method hisp --choose paths --bootstrap 50", nothing, "--bootstrap works only with exact, eap"),
    ("--method eap --choose signed --bootstrap 1001", nothing, "must be between 0 and 1000"),
    ("--method ensemble --level nodes --masks 3", nothing, "--masks works only with --level edges"),
    ("--method eap --warm-start", nothing, "--warm-start works only with subnetwork-probing, edge-pruning, ugs"),
    ("--method hybrid --faithfulness 0.5", nothing, "not --faithfulness"),
    ("--method hybrid --metric accuracy", nothing, "step function"),
    ("--method relp --metric kl", nothing, "gradient there is zero"),
    ("--ablation optimal --direct-edges", nothing, "leave out --direct-edges"),
    ("--level nodes --direct-edges", nothing, "--direct-edges works only with --level edges"),
    ("--sender-order sideways", nothing, "sideways"),
    ("--magic", nothing, "--magic"),
    ("--out f", lambda: write("f", ""), "is a file"),
    ("--out d", lambda: (Path("d").mkdir(), write("d/x", "")), "is not empty and holds no run"),
    ("--out d", lambda: (Path("d").mkdir(), write("d/run.json", "{")), "not valid JSON"),
    ("--out d", lambda: (Path("d").mkdir(), write("d/run.json", "{}")), "is not a run of acdc"),
    ("--out /proc/nothing/here", nothing, "cannot write /proc/nothing/here"),
]


SWEEPS = [
    ("--thresholds many", nothing, "not a list of numbers"),
    ("--thresholds 0.1,,0.2", nothing, "not a list of numbers"),
    ("--thresholds 0.1,-1", nothing, "--thresholds: -1.0 is not a positive number"),
    ("--thresholds nan", nothing, "--thresholds: nan is not a positive number"),
    ("--method eap", nothing, "--method"),
    ("--level nodes --direct-edges", nothing, "--direct-edges works only with --level edges"),
    ("--task t.jsonl", lambda: write("t.jsonl", rows({"corrupted": [5, 6, 7]})), "do not tell them apart"),
    ("--limit 129", nothing, "128 rows"),
    ("--out d", lambda: (Path("d").mkdir(), write("d/x", "")), "is not empty and holds no run"),
]


PLANS = [
    ("--model no/such/folder/here", nothing, "does not exist"),
    ("--model m", lambda: Path("m").mkdir(), "has no config.json"),
    ("--model m", lambda: (Path("m").mkdir(), write("m/config.json", "{}")), "names no architecture"),
    ("--model m", lambda: model_folder({"model_type": "llama"}), "model_type means LlamaForCausalLM"),
    ("--model m", lambda: model_folder({"n_head": 0}), "0 must be between 1 and"),
    ("--model m", lambda: model_folder({"vocab_size": "many"}), "cannot be loaded"),
    ("--method magic", nothing, "'magic' is not one of"),
    ("--method eap --metric kl", nothing, "gradient there is zero"),
    ("--method eap --edges 9999", nothing, "more than the graph's 479"),
    ("--task nowhere.jsonl", nothing, "neither a bundled task"),
    ("--limit 129", nothing, "128 rows"),
    ("--batch-size 0", nothing, "must be at least 1"),
    ("--verify-rows 0", nothing, "--verify-rows 0 must be at least 1"),
    ("--device gpu", nothing, "is not one of auto"),
]


def complain(acdc, words: list[str], message: str) -> None:
    before = sorted(Path().rglob("*"))
    done = acdc(*words)
    assert done.code == 2, done
    assert message in done.err
    assert done.err.startswith("acdc: error: ") and done.err.count("\n") == 1
    assert "Traceback" not in done.err and done.out == ""
    assert sorted(Path().rglob("*")) == before, "a refusal leaves nothing behind"


@pytest.mark.parametrize(("options", "prepare", "message"), SWEEPS)
def test_sweep_refuses(acdc, options, prepare, message):
    prepare()
    complain(acdc, ["sweep", *(["--task", "induction"] if "--task" not in options else []), *options.split()], message)


@pytest.mark.parametrize(("options", "prepare", "message"), PLANS)
def test_plan_refuses(acdc, options, prepare, message):
    prepare()
    complain(acdc, ["plan", *(["--task", "induction"] if "--task" not in options else []), *options.split()], message)


@pytest.mark.parametrize(("options", "prepare", "message"), [*MODELS, *TASKS, *OPTIONS])
def test_discover_refuses(acdc, options, prepare, message):
    prepare()
    complain(
        acdc, ["discover", *(["--task", "induction"] if "--task" not in options else []), *options.split()], message
    )


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    words = ["discover", "--task", "induction", "--limit", "8", "--method", "eap", "--edges", "9", "--out", "r"]
    command_in(folder, *words)
    return folder / "r"


@pytest.fixture
def run(acdc, finished_run):
    """A finished run in the folder `r`, with something that a later command may find damaged; it does not tell what was
    changed since, as runs of before did not."""
    shutil.copytree(finished_run, "r")
    without_digests(Path("r"))


def damage(file: str, **changes) -> None:
    path = Path("r") / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


RUNS = [
    ("show nowhere", nothing, "does not exist"),
    ("show .", nothing, "is not a run of acdc"),
    ("show r", lambda: write("r/circuit.json", "{"), "not valid JSON"),
    ("show r", lambda: write("r/circuit.json", "[]"), "is not a circuit"),
    ("show r", lambda: damage("circuit.json", edges=[{"id": "a9.h9->m3", "score": 0}]), "does not exist"),
    ("show r", lambda: damage("circuit.json", edges_total=5), "edges_total says 5"),
    ("show r", lambda: damage("circuit.json", batch={}), "batch"),
    ("show r", lambda: damage("circuit.json", seed=-1), "seed"),
    ("show r", lambda: damage("verification.json", metric="kl"), "another circuit"),
    ("verify r --verify none", nothing, "measures nothing"),
    ("discover --verify-rows 0 --out s", nothing, "--verify-rows 0 must be at least 1"),
    ("discover --verify some --out s", nothing, "'some'"),
    ("show r", lambda: damage("verification.json", measures={}), "no measure of its metric"),
    ("show r", lambda: damage("verification.json", rows=-1), "rows"),
    ("verify r", lambda: damage("run.json", source={}), "is not a run of acdc"),
    ("verify r --task ioi", nothing, "other rows"),
    ("verify r --dtype float64", nothing, "is not the run's"),
    ("export r --format gif --out x", nothing, "gif"),
    ("export r --format svg --out r/circuit.json/x.svg", nothing, "cannot be made"),
    ("export r --format svg --out /dev/null", nothing, "not an ordinary file"),
    ("export r --format svg", nothing, "--out"),
    ("score --method acdc --out s", nothing, "gives no scores"),
    ("score --task induction --out r", nothing, "holds a run of 'acdc discover'"),
    ("list nonsense", nothing, "nonsense"),
    ("list runs --out r/run.json", nothing, "is a file"),
    ("check-task nowhere", nothing, "neither a bundled task"),
    ("nonsense", nothing, "nonsense"),
]


@pytest.mark.parametrize(("command", "prepare", "message"), RUNS)
def test_commands_on_runs_refuse(acdc, run, command, prepare, message):
    prepare()
    complain(acdc, command.split(), message)


def test_a_damaged_run_hides_no_other(acdc, run):
    shutil.copytree("r", "runs/good")
    shutil.copytree("r", "runs/bad")
    write("runs/bad/run.json", "{")
    listed = acdc("list", "runs", "--json").json
    assert [row["status"] for row in listed] == ["damaged", "complete"]


@pytest.mark.parametrize("other", [("random", 9), ("eap", 30)])
def test_another_runs_circuit_is_not_adopted(acdc, run, other):
    method, edges = other
    words = ["discover", "--task", "induction", "--limit", "8", "--method", method, "--edges", edges, "--out", "q"]
    words += ["--verify", "none"]
    assert acdc(*words).code == 0
    shutil.copy("r/circuit.json", "q/circuit.json")
    without_digests(Path("q"))
    complain(acdc, words, "belongs to another run")


def test_a_damaged_score_file_is_refused(acdc):
    words = ["score", "--task", "induction", "--limit", "4", "--out", "s"]
    assert acdc(*words).code == 0 and acdc(*words).code == 0
    write("s/scores.json", "{}")
    without_digests(Path("s"))
    complain(acdc, words, "is not a score file")


def test_an_empty_folder_of_the_users_stays(acdc):
    Path("mine").mkdir()
    write("t.jsonl", rows({"corrupted": [5, 6, 7]}))
    complain(acdc, ["discover", "--task", "t.jsonl", "--out", "mine"], "do not tell them apart")


def test_weights_that_nothing_reads_are_said(acdc):
    path = model_folder() / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {"transformer.h.0.attn.gate": weights["transformer.ln_f.bias"].clone()}, path)
    done = acdc("check-task", "induction", "--model", "m")
    assert done.code == 0 and done.err.count("\n") == 1
    assert "have 'transformer.h.0.attn.gate', which GPT2LMHeadModel with this configuration does not use" in done.err


def test_an_error_that_quotes_a_file_is_short(acdc):
    write("t.csv", "[" * 100_000 + "\n")
    done = acdc("check-task", "t.csv")
    assert (
        done.code == 2 and done.err.startswith("acdc: error: t.csv: expected the columns clean") and " ... " in done.err
    )
    assert len(done.err) < 1600


def test_names_are_not_markup(acdc):
    done = acdc(
        "discover", "--task", "induction", "--limit", "8", "--method", "random", "--edges", "9", "--out", "a[/b][red]"
    )
    assert done.code == 0 and "a[/b][red]" in done.out


def command(*words: str, **more) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "acdc", *words], capture_output=True, text=True, **more)


def test_a_full_disk_is_one_sentence(tmp_path):
    """The limit on file size stands for the disk: writing the circuit fails half-way, and leaves no part of it."""
    import resource

    words = ["discover", "--task", "induction", "--limit", "120", "--method", "eap", "--edges", "200", "--out", "r"]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))  # noqa: E731
    done = command(*words, cwd=tmp_path, preexec_fn=limit)
    assert done.returncode == 2 and done.stderr.startswith("acdc: error: cannot write"), done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["run.json"]
    assert command(*words, cwd=tmp_path).returncode == 0, "the same command goes on where there is room again"


def test_standard_output_that_fails(tmp_path):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "acdc", "list", "tasks"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left" in done.stderr
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "acdc", "list", "tasks"], stdout=closed, stderr=subprocess.PIPE, text=True
        )
    assert done.stderr == ""


def test_hub_models_offline(tmp_path):
    """A hub name without a network or a cache."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = command("discover", "--model", "gpt2", cwd=tmp_path, env=environment)
    assert done.returncode == 2 and "cannot be fetched from the hub" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("discover", "--out", ""), "--out"),
        (("discover", "--out="), "--out"),
        (("check-task", " "), "an argument"),
        (("show", ""), "an argument"),
        (("discover", "--model", "", "--task", "ioi"), "--model"),
    ],
)
def test_empty_words_are_refused(acdc, tmp_path, words, what):
    """An empty path would be the current folder."""
    done = acdc(*words)
    assert (done.code, done.err) == (2, f"acdc: error: {what} is empty: give it a value or leave it out\n")
    assert not list(tmp_path.iterdir())
