"""Circuits of features as sentences, as a picture and as a page."""
