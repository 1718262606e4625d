"""Figures, the page and the terminal's table: drawn from the tables of a folder of results."""
