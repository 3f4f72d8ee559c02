"""Requests for any server of TF Serving's API, as clients would send them, and how long each took."""
