"""A run as one HTML file that needs nothing else: what was shown and what not, the circuit to explore, all tables."""

from acdc.render.report.page import to_html

__all__ = ["to_html"]
