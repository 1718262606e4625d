"""The probes: each a package that says what it is, measures a run and draws its table."""
