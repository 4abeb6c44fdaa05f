"""Models for clipseek: a synthetic world, a small video-text model trained on it, and its export as a bundle."""
