"""Engines: how to start one, when it is ready, who its processes are, how to stop it."""
