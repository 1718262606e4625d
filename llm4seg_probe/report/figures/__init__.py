"""Figures of comparisons and claims."""
