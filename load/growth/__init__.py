"""How what a request costs grows with arms, experiments, the size of a message, connections and batches."""
