"""The Cython face of libdicore: converts, releases the GIL, raises. Nothing here decides anything."""
