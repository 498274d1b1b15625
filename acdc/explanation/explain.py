"""All that is known of one unit, as a value, and as JSON in the form in which front ends read features."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from acdc.attribution.trace import token_texts
from acdc.dictionaries.corpus import Corpus
from acdc.dictionaries.dictionary import Dictionary
from acdc.display import Tabled
from acdc.explanation.examples import Example, Examples, collect
from acdc.explanation.patterns import PatternShares, pattern_shares
from acdc.explanation.tokens import Weighted, input_tokens, output_tokens, ov_pairs, qk_pairs
from acdc.explanation.units import HeadUnit, parse_unit
from acdc.model.load import Model
from acdc.options import check_count
from acdc.progress import Progress, silent

TOKENS = 100_000
PAIRED = 256  # tokens, the most frequent ones, of which heads' pairs are looked at
Shown = tuple[str, float]


@dataclass(frozen=True)
class ShownExample:
    """An example's tokens as text, with an activation each."""

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    at: int


@dataclass(frozen=True)
class HeadFacts:
    """Of a head alone: what it attends to, what its OV circuit says, and which tokens its QK circuit pairs."""

    shares: PatternShares
    ov: Weighted
    qk: Weighted


@dataclass(frozen=True)
class Neighbour:
    """A component or node that a unit reads from or writes to in a given run. `score`: of the edge or link; None where
    components were chosen, so that edges have none. `input`: through which input of a head it reads, `among`: how many
    there are in this direction."""

    direction: str
    id: str
    score: float | None
    input: str = ""
    among: int = 0

    @property
    def cells(self) -> list[str]:
        """Direction, what it is, its score."""
        name = f"{self.id}, into its {self.input}" if self.input else self.id
        return [self.direction, name, "-" if self.score is None else f"{self.score:+.4g}"]


@dataclass(frozen=True, repr=False)
class Explained(Tabled):
    """`raises`, `lowers`: tokens by what the unit writes. `excited`, `silenced`: by what it reads. None: not defined
    for the unit."""

    unit: str
    kind: str
    model: str
    dictionary: str | None
    examples: Examples
    shown: tuple[tuple[str, tuple[ShownExample, ...]], ...]
    raises: Weighted | None
    lowers: Weighted | None
    excited: Weighted | None
    silenced: Weighted | None
    head: HeadFacts | None
    neighbours: tuple[Neighbour, ...] = ()

    def summary(self) -> str:
        raises = ", ".join(repr(token) for token, _ in (self.raises or ())[:3])
        return f"{self.kind} {self.unit} in {self.model}" + (f", raises {raises}" if raises else "")

    def table(self) -> Iterator[dict[str, Any]]:
        """A row for each example: `group`, `text`, the `token` of the strongest activation, and that `activation`."""
        for name, examples in self.shown:
            for one in examples:
                found = {"token": one.tokens[one.at], "activation": one.activations[one.at]}
                yield {"group": name, "text": "".join(one.tokens)} | found


def explain_unit(
    model: Model,
    name: str,
    corpus: Corpus,
    dictionary: Dictionary | None = None,
    most_tokens: int = TOKENS,
    seed: int = 0,
    progress: Progress = silent,
) -> Explained:
    """What a unit means on the first so many tokens of a corpus. Raises InputError for a unit that is not there."""
    check_count("--tokens", most_tokens)
    unit = parse_unit(name, model, dictionary)
    examples = collect(unit, model, corpus, most_tokens, seed, progress)
    head: HeadFacts | None = None
    out: tuple[Weighted, Weighted] | None = None
    into: tuple[Weighted, Weighted] | None = None
    if isinstance(unit, HeadUnit):
        shares, common = pattern_shares(unit, model, corpus, most_tokens)
        common = common[:PAIRED]
        head = HeadFacts(shares, ov_pairs(unit, common), qk_pairs(unit, common))
    else:
        out, into = output_tokens(unit), input_tokens(unit)
    shown = tuple((group.name, tuple(_shown(model, one) for one in group.examples)) for group in examples.groups)
    return Explained(
        name,
        unit.kind,
        model.name,
        None if dictionary is None else dictionary.name,
        examples,
        shown,
        raises=None if out is None else out[0],
        lowers=None if out is None else out[1],
        excited=None if into is None else into[0],
        silenced=None if into is None else into[1],
        head=head,
    )


def _shown(model: Model, example: Example) -> ShownExample:
    return ShownExample(tuple(token_texts(model, list(example.tokens))), example.activations, example.at)


def feature_json(found: Explained, index: int | str) -> dict[str, Any]:
    """In Anthropic's form of feature pages, which the front ends of circuit-tracer and Neuronpedia show: `index`,
    `examples_quantiles`, `top_logits`, `bottom_logits`, and what else acdc knows under its own keys."""
    examples = found.examples
    return {
        "index": index,
        "examples_quantiles": [
            {
                "quantile_name": name,
                "examples": [
                    {
                        "tokens": list(one.tokens),
                        "tokens_acts_list": list(one.activations),
                        "train_token_ind": one.at,
                        "is_repeated_datapoint": False,
                    }
                    for one in some
                ],
            }
            for name, some in found.shown
        ],
        "top_logits": [token for token, _ in found.raises or ()],
        "bottom_logits": [token for token, _ in found.lowers or ()],
        "act_min": examples.smallest,
        "act_max": examples.largest,
        "quantile_values": [value for _, value in examples.quantiles],
        "histogram": list(examples.histogram),
        "activation_frequency": examples.frequency,
        "acdc": {
            "unit": found.unit,
            "kind": found.kind,
            "model": found.model,
            "dictionary": found.dictionary,
            "corpus": examples.corpus,
            "tokens": examples.tokens,
            "histogram_edges": list(examples.edges),
            "raises": _pairs(found.raises),
            "lowers": _pairs(found.lowers),
            "excited_by": _pairs(found.excited),
            "silenced_by": _pairs(found.silenced),
            "head": None if found.head is None else asdict(found.head),
            "neighbours": [asdict(one) for one in found.neighbours],
        },
    }


def _pairs(found: Weighted | None) -> list[list[Any]] | None:
    return None if found is None else [[token, value] for token, value in found]
