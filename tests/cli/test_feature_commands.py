"""`acdc discover --level features`, `acdc ablate`, and `acdc train-dictionary`."""

import json
import shutil

import pytest
from conftest import command_in

FIND = (
    *("discover", "--level", "features", "--task", "greater_than", "--dictionary", "trio-transcoders"),
    *("--method", "attrib"),
)
SMALL = (*FIND, "--nodes", "12", "--limit", "120")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(a folder with a run, what the command printed)."""
    folder = tmp_path_factory.mktemp("features")
    return folder, command_in(folder, *SMALL, "--out", "run")


@pytest.fixture
def found(acdc, made, tmp_path):
    """A run in the folder `run`, which a test may change: what its command printed."""
    folder, printed = made
    shutil.copytree(folder / "run", tmp_path / "run")
    return printed


def test_what_is_printed_and_written(acdc, found, tmp_path):
    for words in (
        "greater_than in trio: 12 of ",
        "On the 120 discovery rows",
        "verification on 8 unseen rows",
        "10 random circuits of as many features",
        "strongest 10 of 12 nodes",
        "features are needed",
        "report   run/report.html",
    ):
        assert words in found, words
    names = ("run.json", "feature-circuit.json", "verification.json", "circuit.svg", "circuit.dot", "report.html")
    before = {name: (tmp_path / "run" / name).read_bytes() for name in names}
    record = json.loads(before["feature-circuit.json"])
    assert len(record["nodes"]) == 12 and len(record["verification_rows"]) == 8
    again = acdc(*SMALL, "--out", "run")
    assert "run      run (already there)" in again.out
    after = {name: (tmp_path / "run" / name).read_bytes() for name in names}
    assert after == before
    other = acdc(*SMALL, "--seed", "1", "--out", "run")
    assert other.code == 2 and "holds a run of other inputs (seed: 0 there, 1 here)" in other.err
    page = before["report.html"].decode()
    assert "Verdict" in page and "recovers" in page and "m3.f" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_the_recorded_command_makes_the_same_circuit(acdc, tmp_path):
    import shlex

    assert acdc(*SMALL, "--by-position", "--errors", "rank", "--verify", "none", "--out", "run").code == 0
    command = json.loads((tmp_path / "run/run.json").read_text())["command"]
    assert acdc(*shlex.split(command)[1:], "--verify", "none", "--out", "again").code == 0
    name = "feature-circuit.json"
    assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert "--errors rank" in command and "--by-position" in command


def test_what_other_commands_do_with_a_run(acdc, found, tmp_path):
    shown = acdc("show", "run")
    assert shown.code == 0 and "tested by: acdc verify run" in shown.out and "every edge" not in shown.out
    assert acdc("show", "run", "--json").json["verification"]["rows"] == 8
    assert "12 of " in acdc("list", "runs", "--out", ".").out
    full = acdc("verify", "run", "--verify", "full")
    assert full.code == 0 and "completeness" in full.out, full.err
    assert json.loads((tmp_path / "run/verification.json").read_text())["extent"] == "full"
    assert "Completeness" in (tmp_path / "run/report.html").read_text()
    for format in ("svg", "dot", "csv", "html"):
        exported = acdc("export", "run", "--format", format, "--out", f"x.{format}")
        assert exported.code == 0 and (tmp_path / f"x.{format}").stat().st_size > 500, exported.err
    assert (tmp_path / "x.csv").read_text().startswith("kind,source,target,effect\nfeature,m")
    assert acdc("open", "run", "--no-browser").code == 0
    (tmp_path / "runs").mkdir()
    (tmp_path / "run").rename(tmp_path / "runs/run")
    assert acdc("open", "runs", "--no-browser").code == 0
    assert "runs/run" not in (tmp_path / "runs/index.html").read_text()
    assert "features, attrib" in (tmp_path / "runs/index.html").read_text()
    for words in (
        ("diff", "runs/run", "runs/run"),
        ("minimise", "runs/run"),
        ("verify", "runs/run", "--stability", "4"),
    ):
        refused = acdc(*words)
        assert refused.code == 2 and "holds a circuit of features" in refused.err, refused.err
    refused = acdc("export", "runs/run", "--format", "mib", "--out", "x")
    assert refused.code == 2 and "a feature circuit is not written as 'mib'" in refused.err


def test_pages_of_the_strongest_features(acdc, found, tmp_path):
    outcome = acdc("explain", "--run", "run", "--strongest", "2", "--tokens", "300")
    assert outcome.code == 0 and "pages  run/units" in outcome.out, outcome.err
    first = json.loads((tmp_path / "run/feature-circuit.json").read_text())["nodes"][0]["id"]
    page = (tmp_path / f"run/units/{first}.html").read_text()
    assert "feature" in page and "In the circuit" in page
    report = (tmp_path / "run/report.html").read_text()
    assert f'<a href="units/{first}.html"><g' in report and f'href="units/{first}.html">{first}</a>' in report
    assert "units/" not in (tmp_path / "run/circuit.svg").read_text()
    one = acdc("explain", first, "--run", "run", "--tokens", "300")
    assert one.code == 0 and "writes to" in one.out, one.err


def test_ablated_features(acdc, found, tmp_path):
    record = json.loads((tmp_path / "run/feature-circuit.json").read_text())
    names = ",".join(node["id"] for node in record["nodes"][:3])
    outcome = acdc("ablate", "run", "--features", names, "--out", "off.json", "--json")
    assert outcome.code == 0, outcome.err
    effects = outcome.json["effects"]
    assert [one["metric"] for one in effects] == ["prob_diff", "accuracy"]
    assert effects[0]["change"]["value"] != 0
    written = json.loads((tmp_path / "off.json").read_text())
    assert written["features"] == names.split(",") and written["set"] == [f"{name}@1:=0" for name in names.split(",")]
    again = acdc("ablate", "off.json", "--task", "greater_than", "--json")
    assert again.json["effects"] == effects
    mean = acdc("ablate", "run", "--features", names, "--to", "mean", "--out", "mean.json", "--json").json["effects"]
    assert mean != effects
    for words, says in (((), "give --features"), (("--features", "m0.f9999"), "m0.f9999 is not one of the 12 nodes")):
        refused = acdc("ablate", "run", *words)
        assert refused.code == 2 and says in refused.err
    # the same as interventions
    done = acdc("intervene", "--ablated", "off.json", "--task", "greater_than", "--json")
    assert done.code == 0, done.err
    assert done.json["task"]["change"]["value"] == pytest.approx(effects[0]["change"]["value"], rel=1e-4)
    assert done.json["interventions"] == [f"set {name}@1:=0" for name in names.split(",")]
    refused = acdc("intervene", "--ablated", "mean.json", "--task", "greater_than")
    assert refused.code == 2 and "set to their means" in refused.err
    (tmp_path / "other.json").write_text(json.dumps(written | {"model_hash": "0"}))
    refused = acdc("intervene", "--ablated", "other.json", "--task", "greater_than")
    assert refused.code == 2 and "of another model" in refused.err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("ablate", "run", "--features", "m0.f1", "--to", "one"), "--to 'one' is not one of zero, mean"),
        (("ablate", "nowhere", "--features", "m0.f1"), "does not exist"),
        ((*FIND, "--out", "full"), "--out full is not empty and holds no run"),
        ((*FIND, "--errors", "some", "--out", "x"), "--errors 'some' is not one of keep, remove, rank"),
        ((*FIND, "--metric", "accuracy", "--out", "x"), "has no gradient"),
        ((*FIND, "--method", "acdc"), "--method 'acdc' is not one of attrib, ig, exact"),
        ((*FIND, "--ablation", "optimal"), "--ablation 'optimal' is not one of resample, mean, zero"),
        ((*FIND, "--edges", "10"), "--edges does not apply to --level features: --nodes says"),
        ((*FIND, "--choose", "top"), "--choose does not apply to --level features"),
        ((*FIND, "--nodes", "5", "--faithfulness", "0.5"), "give only one of --nodes, --threshold and --faithfulness"),
        (("discover", "--task", "ioi", "--level", "features"), "--level features needs --dictionary"),
        (("discover", "--task", "ioi", "--nodes", "4"), "--nodes works only with --level features"),
        (("plan", "--task", "ioi", "--level", "features"), "'acdc discover --level features --dictionary FOLDER'"),
        (("discover", "--task", "ioi", "--level", "feature"), "--level 'feature' is not one of edges"),
        (("feature-circuit", "--task", "ioi"), "feature-circuit is now 'acdc discover --level features"),
        (("explain",), "UNIT is missing"),
    ],
)
def test_bad_input(acdc, words, says, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/other.txt").write_text("")
    outcome = acdc(*words)
    assert outcome.code == 2 and says in outcome.err and "Traceback" not in outcome.err, outcome.err
    assert not (tmp_path / "x").exists()


def test_training(acdc, tmp_path):
    train = (
        "train-dictionary",
        "--task",
        "induction",
        "--features",
        "16",
        "--active",
        "2",
        "--steps",
        "3",
        "--out",
        "d",
    )
    first = acdc(*train, "--layers", "1,2", "--kind", "sae", "--activation", "jumprelu")
    assert first.code == 0, first.err
    assert "resid_post1" in first.out and (tmp_path / "d/resid_post2/sae_weights.safetensors").exists()
    again = acdc(*train, "--layers", "1,2", "--kind", "sae", "--activation", "jumprelu")
    assert "(already there)" in again.out
    other = acdc(*train)
    assert other.code == 2 and "holds a run of other inputs" in other.err


def test_a_model_s_own_text(trio):
    """Drawn by a seed, from its own distribution after BOS."""
    from acdc.dictionaries.own_text import OwnText

    texts = list(OwnText(trio, 70, window=8, seed=1).prompts())
    assert len(texts) == 70 and all(text[0] == 0 and 2 <= len(text) <= 8 for text in texts)
    assert texts == list(OwnText(trio, 70, window=8, seed=1).prompts())
    assert texts != list(OwnText(trio, 70, window=8, seed=2).prompts())
