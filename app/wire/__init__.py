"""The letterbox: what sites and coordinator may say to each other, as bytes.

Site link and coordinator server come in. It holds messages, a codec with limits, blobs in chunks
that resume, and the conversation of a session; it knows no socket, clock or file. It may not
import what must stay at a site (`domain.dataset`, `.findings`, `.fingerprint`).
"""
