"""Both portals played over real HTTP: a small test double that shares no code with the services, on purpose.

Everything follows from (seed, size, anchor); the clock is world state, no real time is read in here.
"""
