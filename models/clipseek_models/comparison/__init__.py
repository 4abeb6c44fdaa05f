"""All the research systems on the synthetic world, small and trained alike, and one table of how they do.

`variants.py` has the systems at small width, `learn.py` and `whole.py` their training, `judge.py` the figures, `command.py`
the stages and the table.
"""
