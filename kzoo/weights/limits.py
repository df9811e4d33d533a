"""How much a file may ask of its readers: what no framework writes is refused before it is read."""

MOST_TENSORS = 10_000  # of one file; ResNet-152 with its optimizer's state has 3,000


class Budget:
    """A file of N bytes may give N bytes of data."""

    def __init__(self, size: int):
        self.left = size

    def spend(self, size: int, kind: str = "arrays") -> None:
        """Take `size` bytes; an error if that is more than are left."""
        self.left -= size
        if self.left < 0:
            raise ValueError(f"its {kind} together are larger than the file")


def check_count(count: int, kind: str = "tensors", most: int = MOST_TENSORS) -> None:
    """Refuse more entries than any file of weights has."""
    if count > most:
        raise ValueError(f"it has more than {most:,} {kind}")
