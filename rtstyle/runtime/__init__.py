"""Frames and a code in, painted frames out: choosing a device, opening a session, running the net."""
