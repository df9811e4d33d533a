"""Files of the Hugging Face hub: fetched, locked and kept by its own client, in its own cache (HF_HOME).

HF_HUB_OFFLINE=1 keeps it from the network. Its cache names each large file by its sha256, but checks only the size of
what it fetches over HTTP; so the hash is checked here.
"""

import re
from pathlib import Path

from kzoo.errors import WeightsError
from kzoo.weights import checksums
from kzoo.weights.record import File


def cached(file: File) -> Path | None:
    """Where the hub's cache has a file; None if it has not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(str(file.hub), _name(file), revision=file.revision)
    return Path(found) if isinstance(found, str) else None


def fetch(file: File) -> Path:
    """Fetch a file into the hub's cache, in the place of a damaged one.

    Raises:
        WeightsError: It cannot be had, or what came has another sha256 than the hub states; then it is deleted.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    if kept := cached(file):  # the hub's client would not look at its content
        try:
            check(kept, file)
        except WeightsError:
            _delete(kept)
    try:
        # Asked once: hf_hub_download would try for 20 seconds to reach a hub that is out of reach.
        get_hf_file_metadata(hf_hub_url(str(file.hub), _name(file), revision=file.revision))
        path = Path(hf_hub_download(str(file.hub), _name(file), revision=file.revision))
    except HfHubHTTPError as error:
        raise WeightsError(f"The hub does not give {file.name}. Received: {_first_line(error)}") from None
    except Exception as error:  # its client lets the errors of its HTTP library through, and that has changed twice
        raise WeightsError(f"Cannot fetch {file.name} from the hub. Received: {_first_line(error)}") from None
    try:
        check(path, file)
    except WeightsError as error:
        _delete(path)
        raise WeightsError(f"{error} It came from the hub and was deleted; nothing was kept.") from None
    return path


def check(path: Path, file: File) -> None:
    """Compare a file in the hub's cache with the sha256 by which the cache calls it.

    Raises:
        WeightsError: It is damaged.
    """
    first_link = _chain(path)[1:2]
    if first_link and re.fullmatch("[0-9a-f]{64}", first_link[0].name):
        checksums.check(path, File(name=file.name, sha256=first_link[0].name))


def _delete(path):
    for link in reversed(_chain(path)):
        link.unlink()


def _chain(path):
    """The file and what it links to: blobs/SHA256 of the repository, and that to a store which repositories share.

    On a system without links it is the file alone.
    """
    chain = [path]
    while chain[-1].is_symlink():
        chain.append(chain[-1].parent / chain[-1].readlink())
    return chain


def _name(file):
    return file.name.rpartition("/")[2]


def _first_line(error):
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0].rstrip('.')}."
