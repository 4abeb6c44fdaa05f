"""Fine-tuning and post-pretraining of the research systems on captioned video. `command.py` is the way in.

The flow: `recipes.py` says how a published training was done, `sets.py` and `captioned.py` read which clips there are and what is said
of them, `decode.py` and `clips.py` make batches of pixels and tokens, `initial.py` makes a model out of CLIP's weights.
`objectives.py` says what a batch costs, `optimisers.py` which parameters learn how fast, `step.py` takes a step (down the gradients: `descent.py`), `loop.py` runs the
epochs, `validate.py` judges them and `snapshot.py` keeps the best.
"""
