"""Activations of a network: recorded, edited, and their nulls."""
