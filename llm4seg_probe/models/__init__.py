"""Backbones, the booster, and putting one into the other."""
