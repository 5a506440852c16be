"""Deep clustering that anyone can rerun: data, graphs, networks, methods, metrics and reports."""
