"""What runs in the environments of the peers: each a program that answers as their users would write it."""
