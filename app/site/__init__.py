"""The site service: the link to the coordinator, the site's state, consent, rounds, outbox.

One per home folder. `disclosure` is the only place where something local becomes something
shared. The window reaches it through `app.control`.
"""
