"""The bundled tasks, posed for tokenizers of several kinds."""

import hashlib

import pytest

from acdc.task.bundled import ROWS, SEED
from acdc.task.generators import docstring, greater_than, induction, ioi
from acdc.task.load import load_task

# Artefacts record these: whoever has one must find the same rows again.
ON_TRIO = {
    "ioi": "4b6c7af4cd518e99a35cccf2b53f74c3ff8f2c2eaff45ecc897cff131c8b1bbb",
    "greater_than": "48e5b6c21349500d72cc86386cd9ea2d8f3f52526f5efea2a581f3a1b11538de",
    "induction": "8f518597cfeb032cb45f566dfacda75e0051099230381f39c6cd20306ae9a853",
}
# The same as text, where the tokenizer keeps every word whole.
AS_TEXT = {
    ioi: "83752140f5c2e1d63cb5fd3f00d1c4080fa8a5ec54911d5fa8a08a7988a41e1d",
    greater_than: "ce42867ec044313bdc68fda5bdc504d32eb792cdf2d3977abc3fadd6bc27a29a",
    docstring: "d7285db834d4e72d09d559a99bbcff3f2acf61daee4edaa606b81bfb1ad23c86",
    induction: "ee37ab2705802dca60f660c0e8c6a0fccf64eccae18db9937dec184dd9a12efa",
}


@pytest.mark.parametrize("name", ON_TRIO)
def test_the_rows_that_artefacts_record_stay_the_same(trio, name):
    assert load_task(name, trio).content_hash() == ON_TRIO[name]


@pytest.mark.parametrize("generator", AS_TEXT, ids=lambda generator: generator.__name__)
def test_the_texts_that_artefacts_record_stay_the_same(generator):
    rows = generator.generate(ROWS, SEED)
    text = "\n".join("\t".join((e.clean, e.corrupted, *e.correct, "/", *e.incorrect, e.group)) for e in rows)
    assert hashlib.sha256(text.encode()).hexdigest() == AS_TEXT[generator]
