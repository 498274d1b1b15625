"""Circuits and scores as files of other tools have them: one module for each format, one value between them."""

from acdc.artefacts.codecs.foreign import Codec, ForeignGraph, Mark

__all__ = ["Codec", "ForeignGraph", "Mark"]
