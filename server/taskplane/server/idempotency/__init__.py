"""Idempotent calls: an idempotency key has one effect, and a repeat gets the first response.

A call with a key is recorded in the transaction of its effect (`calls`). The response follows within a second
(`responses`). A repeat of a recorded call changes nothing: it gets the stored response, or, as long as none is stored,
a response made from the tasks as they are now.
"""
