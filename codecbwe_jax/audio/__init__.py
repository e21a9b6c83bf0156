"""Signal processing on arrays: no parameters, no state."""
