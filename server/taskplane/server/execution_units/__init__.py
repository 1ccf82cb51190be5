"""Who can run what: the units, their sessions and the dispatcher."""
