"""The words of the house: values that every other room speaks in.

Everybody comes in; it imports nothing but the standard library. Values are frozen, carry their
units in their names and hold no file handle, socket or clock. What must never leave a hospital
lives in `dataset`, `findings` and `fingerprint`; `app.wire` may not import those three.
"""
