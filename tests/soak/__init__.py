"""Lets one run go on for hours and many wait for one server, and looks whether anything grows."""
