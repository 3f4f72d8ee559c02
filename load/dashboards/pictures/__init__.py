"""Pictures of the dashboards for pages: what their queries show of a demo, asked of a real Prometheus beside it."""
