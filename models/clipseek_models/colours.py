"""Mean and deviation of the colours that CLIP was trained on, from 0 to 1. Needs nothing."""

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
