"""The Windows product: a per-user setup program, put together on Linux from Windows' own wheels."""
