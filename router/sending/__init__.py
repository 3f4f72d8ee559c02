"""`turpin rewards send`: rewards from arguments or a file, in batches, each counted once however often it is sent."""
