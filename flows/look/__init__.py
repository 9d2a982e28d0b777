"""Shows what came out of runs: rows, lineage, sheets, comparisons."""
