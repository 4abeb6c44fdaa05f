"""Fine-tuning and post-pretraining of the research systems on captioned video. `command.py` is the way in.

The flow: `captioned.py` reads which clips there are and what is said of them, `decode.py` and `clips.py` make batches of
pixels and tokens, `initial.py` a model out of CLIP's weights; `objectives.py` says what a batch costs, `optimiser.py` who
learns how fast; `loop.py` turns, `validate.py` judges, `snapshot.py` keeps.
"""
