"""Single commands on finished runs, one module each: tables and figures from checkpoints."""
