"""All of Qt: window, pages, widgets, presenters. Reaches services only through `app.control`.

A page draws one view-state value and emits wishes; a presenter decides and knows no widget;
`bridge` alone sees Qt and the thread to the service. Imports neither torch nor nnunetv2, SimpleITK
only when the page that needs it opens, and pyqtgraph when the window has been seen.
"""
