"""`make bench-peers`: what a request costs at other servers, each in an environment of its own, and at Turpin's fronts."""
