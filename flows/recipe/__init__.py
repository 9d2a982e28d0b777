"""Says what is to run: settings, checks beforehand, and the graph of nodes."""
