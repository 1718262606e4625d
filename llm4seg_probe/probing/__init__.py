"""Reading what happens inside a network, and the tables that come of it."""
