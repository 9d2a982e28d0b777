"""Says what is measured of models, for all who measure, compare and show it: kinds, statistics."""
