"""The macOS product: an application bundle in a disk image. Written without a Mac; see build.py."""
