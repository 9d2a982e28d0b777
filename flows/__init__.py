"""Says in what order stages run, from which configuration, and offers the command line."""
