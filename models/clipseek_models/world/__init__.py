"""The synthetic world: moving shapes, what can be said of them, and the small model that ships with clipseek.

`scenes.py` says what exists and happens, `motion.py` and `render.py` show it, `captions.py` and `tokenizer.py` word it, `dataset.py`
draws it. `nets.py`, `pretrain.py` and `align.py` are the model and its two phases, `train.py` the one command; `scope.py`,
`export.py` and `card.py` its bundle; `evaluate.py` and `windows.py` judge a bundle; `footage.py` writes the test footage.
"""
