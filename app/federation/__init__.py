"""The rules of the federation, pure: study, rounds, sites, merging, alignment, averaging.

Both services come in. It takes values, bytes and `now`, and returns values, bytes and effects; it
knows numpy but no clock, socket, thread, file or database.
"""
