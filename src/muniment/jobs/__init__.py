"""Background work that survives its workers: jobs, their claims and steps, schedules, and the worker that runs them.

A *job* is a row; a *claim* is a worker's right to it for the length of a *lease*, and carries a *token* that grows with every claim. Each
write of a worker holds only if job and token still are what it claimed, so a worker that was thought dead can do no harm once
another has taken over. `model` has the words, `ports` what a store must do, `run` what a handler sees, `worker` the loop.
"""
