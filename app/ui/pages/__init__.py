"""Pages: each draws one view state and emits wishes."""
