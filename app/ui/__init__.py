"""All of Qt: window, pages, widgets, presenters. Reaches services only through `app.control`.

A page draws one view-state value and emits wishes; a presenter decides and knows no widget;
`bridge` alone sees Qt and the thread to the service. Imports neither torch nor
nnunetv2, and SimpleITK and numpy only when a page that needs them opens.
"""
