"""Idempotent calls: an idempotency key has one effect, and a repeat gets the first response.

A call with a key is recorded in the transaction of its effect (`calls`). The response follows within a second
(`responses`). A repeat of a recorded call changes nothing. It gets the stored response; before the response is stored,
a response made from the tasks as they are now.
"""
