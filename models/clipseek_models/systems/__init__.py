"""The three research systems, written from their papers. `load` is the way in, `interface.py` says what it gives; each of the
other modules follows one system.

Formulas are those of the papers that the modules name, and of the published code where a paper leaves something open.

Shapes: B clips, texts or pairs, T frames of a clip, L tokens of a text, W width of a tower, D length of the shared vectors.
Masks are 1 where there is something and 0 where there is padding.
"""

from .load import Heads, build, load

__all__ = ["Heads", "build", "load"]
