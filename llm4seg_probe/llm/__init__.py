"""Where a decoder layer comes from, and the control layers that stand in its place."""
