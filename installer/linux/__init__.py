"""The Linux products: a frozen bundle, a Debian package of it, and a self-extracting file."""
