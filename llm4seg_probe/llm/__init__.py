"""Decoder layers of language models: their sources, and the control layers in their place."""
