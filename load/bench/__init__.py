"""`make bench`: what a request costs at Turpin's fronts, at bare gateways of a few lines, and at Envoy, side by side."""
