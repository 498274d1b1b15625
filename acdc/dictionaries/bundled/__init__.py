"""The dictionaries that come with acdc."""

from pathlib import Path

_HERE = Path(__file__).parent
BUNDLED = {path.name: path for path in sorted(_HERE.iterdir()) if (path / "config.yaml").is_file()}


def find_dictionary(name: str | Path) -> Path:
    """The folder of a bundled dictionary's name, or the path itself."""
    path = Path(name)
    return path if path.exists() else BUNDLED.get(str(name), path)
