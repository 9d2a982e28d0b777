"""Says what a node of the graph is, and how nodes read each other's rows."""
