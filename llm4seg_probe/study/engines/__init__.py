"""Engines that make runs: on this machine, or on a Ray cluster."""
