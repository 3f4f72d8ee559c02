"""`turpin top`: what a gateway is doing, read from its admin port and shown on a terminal as it goes on."""
