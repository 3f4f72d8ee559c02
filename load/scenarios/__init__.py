"""The demo's other stories: `turpin demo --scenario deploy|price|rollback|sick`, each on real model servers."""
