"""What the store takes: rewards that it acknowledges per second, and what remembering one costs in Redis."""
