"""A user's own module: its tensors known by their values, and the module itself behind the contract."""
