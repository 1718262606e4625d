"""Paired comparison, power, verdicts and claims, on tidy tables.

Nothing here trains or draws; every function takes a table, or numbers from one.
"""
