"""Pictures of the papers' scripts, which all end alike."""


def save(figure, path, **padding):
    """Write a figure to a file, in a folder that need not be there, and say where."""
    figure.tight_layout(**padding)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"Picture: {path}")
