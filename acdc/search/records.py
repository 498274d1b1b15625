"""The model, the spans and the batches of a search, as artefacts record them."""

from dataclasses import asdict

from acdc.artefacts.circuit import BatchRecord, ModelRecord, SpansRecord
from acdc.behaviour.behaviour import CANDIDATE_BYTES, CANDIDATE_TOKENS, PADDING, Behaviour
from acdc.execution.products import KIND as PRODUCTS
from acdc.model.load import Model
from acdc.search.acdc.widths import CACHE_BYTES, pass_bytes, widest


def describe_spans(behaviour: Behaviour) -> SpansRecord:
    """The spans of a behaviour's task, as artefacts record them."""
    spans = behaviour.spans
    return SpansRecord.of(spans, behaviour.task.spans_hash() if spans.named else None)


def describe_model(behaviour: Behaviour) -> ModelRecord:
    """The model of a behaviour, as artefacts record it."""
    model = behaviour.model
    return ModelRecord(
        name=model.name,
        family=model.family,
        revision=model.revision,
        content_hash=model.content_hash,
        split_embeddings=behaviour.graph.split_embeddings,
        direct_edges=behaviour.graph.direct_edges,
        components=model.components.kind,
        quantisation=model.quantisation,
        anatomy=asdict(model.anatomy),
    )


def describe_batch(size: int, threads: int, model: Model) -> BatchRecord:
    """What the last bits of a result may depend on, as artefacts record it: besides rows per pass and threads, what is
    constant."""
    return BatchRecord(
        size=size,
        padding=1.0 if model.components.whole_prompts else PADDING,
        threads=threads,
        candidate_tokens=CANDIDATE_TOKENS,
        candidate_bytes=CANDIDATE_BYTES,
        trial_width=widest(model),
        trial_bytes=pass_bytes(model),
        cache_bytes=CACHE_BYTES[model.device_kind],
        products=PRODUCTS,
    )
