"""The border that all text crosses on its way into SVG and HTML."""

import html

from acdc.errors import visible


def escape(text: str) -> str:
    """Text for an element or an attribute: what neither may hold, or what would change its direction, as an escape."""
    return html.escape(visible(text))
