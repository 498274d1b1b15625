"""Shapes and pictures elsewhere or in another size."""

from dataclasses import dataclass, replace

from acdc.render.layout import Box
from acdc.render.shapes import Line, Picture, Point, Rectangle, Shape, Text


@dataclass(frozen=True)
class Change:
    """Every point times `factor`, then moved by (x, y)."""

    factor: float = 1.0
    x: float = 0.0
    y: float = 0.0

    def point(self, point: Point) -> Point:
        return point[0] * self.factor + self.x, point[1] * self.factor + self.y

    def line(self, line: Line) -> Line:
        points = tuple(map(self.point, line.points))
        return replace(line, points=points, width=line.width * self.factor, head=line.head * self.factor)

    def rectangle(self, shape: Rectangle) -> Rectangle:
        x, y = self.point((shape.box.x, shape.box.y))
        box = Box(x, y, shape.box.width * self.factor, shape.box.height * self.factor)
        return replace(shape, box=box, radius=shape.radius * self.factor, stroke=shape.stroke * self.factor)

    def text(self, text: Text) -> Text:
        x, y = self.point((text.x, text.y))
        return replace(text, x=x, y=y, size=text.size * self.factor)

    def shape(self, shape: Shape) -> Shape:
        match shape:
            case Line():
                return self.line(shape)
            case Rectangle():
                return self.rectangle(shape)
            case Text():
                return self.text(shape)

    def picture(self, picture: Picture) -> Picture:
        """All parts of a picture, and its size."""
        return replace(
            picture,
            width=picture.width * self.factor,
            height=picture.height * self.factor,
            behind=tuple(map(self.shape, picture.behind)),
            links=tuple(replace(link, line=self.line(link.line)) for link in picture.links),
            nodes=tuple(
                replace(node, outline=self.rectangle(node.outline), label=self.text(node.label))
                for node in picture.nodes
            ),
        )
