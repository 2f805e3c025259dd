"""Starting and watching child processes: what a job is told, what it tells, how it ended.

The services come in to run jobs; `app.worker` comes in for the same words on its side of the
pipe. A child gets a spec file, speaks JSON lines on its own event stream, takes JSON lines on its
standard input, and ends in an outcome that states itself in a sentence. Nothing here knows
nnU-Net or torch.
"""
