# The package's own folder, of which meson makes __init__.py (engine/package).
__version__: str
