"""Which sizes a protocol reduces pictures to, for a network of a given input."""

from collections.abc import Sequence


def reduced_sizes(sizes: Sequence[int], full: int) -> tuple[list[int], tuple[str, ...]]:
    """Return the sizes below the network's own, each once, and a note on those that are not.

    >>> reduced_sizes([8, 12, 8, 64], 32)
    ([8, 12], ('64 px is not below the 32 px of the network and is left out.',))
    """
    kept = [size for size in dict.fromkeys(sizes) if size < full]
    beyond = ", ".join(f"{size} px" for size in dict.fromkeys(sizes) if size > full)
    return kept, (f"{beyond} is not below the {full} px of the network and is left out.",) if beyond else ()
