"""Trained models that compute programs of the library along known edges; `experiments/train_known.py` made them.

Each folder is a native model folder with a `known.json` that says what is true of it.
"""

from pathlib import Path

FOLDERS = {path.parent.name: path.parent for path in sorted(Path(__file__).parent.glob("*/known.json"))}
