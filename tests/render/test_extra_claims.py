"""What is claimed from specificity, rivals and bootstraps, and what is not."""

import pytest
from circuits import quick_report, random_circuit

from acdc.artefacts.verification.interval import Interval
from acdc.artefacts.verification.report import Report
from acdc.artefacts.verification.rivals import Rival, Rivals
from acdc.artefacts.verification.sampling import Sampling
from acdc.artefacts.verification.specificity import AblatedTask, Harm, Specificity
from acdc.artefacts.verification.stability import Bootstraps
from acdc.render.extras import harms_table, rivals_table
from acdc.render.report import to_html
from acdc.render.verdict import Standing, claims


def around(value, width=0.05):
    return Interval(low=value - width, value=value, high=value + width)


def specificity(own, other, back=0.0):
    """What the circuit does to its own task and to another, and the other circuit to its task."""
    shares = {("a", "a"): own, ("a", "b"): other, ("b", "a"): back, ("b", "b"): around(1.0)}
    shares = {pair: share if isinstance(share, Interval) else around(share) for pair, share in shares.items()}
    tasks = [AblatedTask(name=name, metric="logit_diff", rows=9, edges=4, shared=1) for name in "ab"]
    harms = [Harm(circuit=c, task=t, lost=share, change=around(0.0)) for (c, t), share in shares.items()]
    return Specificity(ablation="resample", tasks=tasks, harms=harms)


def rivals(*each):
    """By (Jaccard, whether it reaches the target)."""
    common = {"order": "x", "excluded": 2, "edges": 5, "shared": 3, "discovery": 0.97, "faithfulness": around(0.9)}
    found = [Rival(jaccard=jaccard, reaches=reaches, **common) for jaccard, reaches in each]
    return Rivals(edges=7, discovery=1.0, gap=0.1, rows=9, trials=30, whole=False, each=found)


def bootstraps(jaccard):
    sampling = Sampling(unit="row", units=9, rows=9)
    shares = (0.5, 0.6, 0.7)
    return Bootstraps(
        count=100,
        sampling=sampling,
        averaged=True,
        jaccard=jaccard,
        to_circuit=shares,
        edges=4,
        frequencies={"e->f": 0.3},
    )


def standing(name, **extras):
    circuit, _ = random_circuit(6)
    found = {claim.name: claim for claim in claims(circuit, quick_report(circuit).model_copy(update=extras))}
    return found[name].standing


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [
        (1.0, 0.0, Standing.shown),
        (1.0, 0.14, Standing.shown),
        (1.0, 0.16, Standing.not_shown),  # the interval reaches beyond 20%
        (1.0, -0.16, Standing.not_shown),  # what makes the other better matters to it too
        (0.12, 0.1, Standing.not_shown),  # its own is not clearly more
        (1.0, Interval(low=None, value=0.0, high=None), Standing.open),
    ],
)
def test_a_circuit_is_specific_where_others_lose_little(own, other, expected):
    assert standing("specificity", specificity=specificity(own, other)) is expected
    assert standing("specificity", specificity=specificity(own, other, back=1.0)) is expected  # says it of the other


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        ([(0.4, True), (0.9, True)], Standing.not_shown),
        ([(0.4, False), (0.9, True)], Standing.open),
        ([(0.0, False)], Standing.open),
    ],
)
def test_a_rival_with_little_in_common_speaks_against_the_circuit(each, expected):
    assert standing("no rival circuit", rivals=rivals(*each)) is expected


def test_bootstraps_show_stability_from_a_share_in_common():
    assert standing("stability over resampled rows", bootstraps=bootstraps(0.8)) is Standing.shown
    assert standing("stability over resampled rows", bootstraps=bootstraps(0.79)) is Standing.not_shown


def test_what_was_not_asked_for_is_open():
    assert standing("specificity") is standing("no rival circuit") is Standing.open


def test_tables_and_page_have_all_of_it(tmp_path):
    head, rows = harms_table(specificity(1.0, 0.25))
    assert head == ["circuit of", "edges", "shared", "a", "b"]
    assert rows[0] == ["a", "4", "1", "100.0% [95.0%, 105.0%]", "25.0% [20.0%, 30.0%]"]
    head, rows = rivals_table(rivals((0.9, True), (0.1, False), (0.4, True)))
    assert [(row[head.index("Jaccard")], row[-1]) for row in rows] == [
        ("40.0%", "reached"),
        ("90.0%", "reached"),
        ("10.0%", "missed"),
    ]
    circuit, _ = random_circuit(6)
    extras = {"specificity": specificity(1, 0), "rivals": rivals((0.4, True)), "bootstraps": bootstraps(0.8)}
    report = quick_report(circuit).model_copy(update=extras)
    page = to_html(circuit, report, "acdc")
    for words in ("25.0%", "40.0%", "The budget ended before", "e-&gt;f", "30.0%", "9 of a (logit_diff)"):
        assert (words in page) == (words != "25.0%"), words
    report.save(tmp_path)
    assert Report.load(tmp_path) == report


def test_files_without_extras_are_as_before():
    circuit, _ = random_circuit(6)
    assert not {"specificity", "rivals", "bootstraps"} & quick_report(circuit).model_dump(mode="json").keys()
