"""Circuits and scores as files of other tools have them: one module for each format, one value between them."""

from acdc.artefacts.codecs.foreign import HELD, Codec, ForeignGraph, Mark

__all__ = ["HELD", "Codec", "ForeignGraph", "Mark"]
