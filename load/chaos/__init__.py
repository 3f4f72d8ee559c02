"""Real processes that are killed, stopped, cut off and restarted, and what was acknowledged held against what is counted."""
