"""One file over HTTP: resumed after a cut or a kill, never larger than expected, and checked before it has its name."""

import errno
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from kzoo.console import progress, warn
from kzoo.errors import WeightsError
from kzoo.files import put_in_place
from kzoo.weights.checksums import check, matches
from kzoo.weights.record import File

RETRIES = 4  # in a row that bring nothing new
SECONDS_BEFORE_RETRY = 1.0  # doubled each time
TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two parts of the answer
LARGEST = 4 * 10**9  # bytes of a file whose size nobody states; that of VGG-19 has 574 million
CHUNK = 1 << 16
BUSY = (408, 425, 429, 500, 502, 503, 504)


class _TryAgain(Exception):  # noqa: N818 - it is no error until nobody tries again
    """The server is busy or the line was cut: what has arrived is kept."""


def download(file: File, target: Path, *, show: bool = True) -> None:
    """Fetch `file` from its url to `target`, whole and checked, or not at all.

    What arrives is kept beside `target` under a hidden name that ends in ".part", and a later call goes on from there.
    The caller holds the record's lock.

    Args:
        file: What to fetch.
        target: Where to; its folder is made.
        show: Whether to show the progress.

    Raises:
        WeightsError: The server does not have it or cannot be reached, the disk is full, or what came is not what the
            record says; then it is deleted.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    resumed = part.exists()
    _receive(file, part, show)
    if resumed and not matches(part, file):
        # What an earlier call left may be of another version of the file.
        part.unlink()
        _receive(file, part, show)
    try:
        check(part, file)
    except WeightsError as error:
        part.unlink()
        raise WeightsError(f"{error} It came from {file.url} and was deleted; nothing was kept.") from None
    put_in_place(part, target)


def _receive(file: File, part: Path, show: bool) -> None:
    """Fill `part`, trying again where that may help: not where the server was out of reach from the beginning."""
    import requests

    failures, reached = 0, False
    while True:
        before = _size(part)
        try:
            return _receive_once(file, part, show)
        except (
            _TryAgain,
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            reached = reached or not _is_out_of_reach(error)
            failures = 1 if _size(part) > before else failures + 1
            if failures > RETRIES or not reached:
                kept = f" {_size(part):,} bytes are kept; the same command goes on from there." if _size(part) else ""
                raise WeightsError(
                    f"Cannot fetch {file.name}. Received: {_reason(error)} from {file.url}.{kept}"
                ) from None
            warn(f"{_reason(error)} from {urlsplit(file.url).hostname}; trying again ({failures} of {RETRIES}).")
            time.sleep(SECONDS_BEFORE_RETRY * 2 ** (failures - 1))
        except requests.RequestException as error:
            raise WeightsError(f"Cannot fetch {file.name}. Received: {_reason(error)} from {file.url}.") from None


def _receive_once(file: File, part: Path, show: bool) -> None:
    import requests

    start = _size(part)
    if file.size is not None and start == file.size:
        return
    # Packed by the server, the file would not have the bytes that Range counts.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(str(file.url), headers=headers, stream=True, timeout=TIMEOUT) as answer:
        _check_answer(file, answer, start)
        if answer.status_code == 416:  # there is no more: what we have is all of it, or of another file
            if answer.headers.get("Content-Range") == f"bytes */{start}":
                return
            part.unlink()
            raise _TryAgain("the rest of another file")
        if answer.status_code != 206:  # the server ignores Range, or was not asked
            start = 0
        total = _expected_size(file, answer, start)
        _check_room(file, part, (total or 0) - start)
        with open(part, "ab" if start else "wb") as content, _shown(show, file, start, total) as advance:
            for chunk in answer.iter_content(CHUNK):
                start += len(chunk)
                if start > (total or LARGEST):
                    _give_up(file, part, f"more than {total or LARGEST:,} bytes from {file.url}")
                try:
                    content.write(chunk)
                    content.flush()  # here a full disk is noticed, not when the file is closed
                except OSError as error:
                    _give_up(file, part, f"{error.strerror}, while writing to {str(part.parent)!r}", error.errno)
                advance(len(chunk))
    if total is not None and start < total:
        raise _TryAgain(f"only {start:,} of {total:,} bytes")


def _check_answer(file: File, answer, start: int) -> None:
    """Raise unless the answer is, or may later be, the file."""
    hops = [hop.url for hop in (*answer.history, answer)]
    if hops[0].startswith("https:") and not all(hop.startswith("https:") for hop in hops):
        raise WeightsError(f"Refused an unprotected redirection of {file.name}. Received: {' -> '.join(hops)}.")
    if answer.status_code in BUSY:
        raise _TryAgain(f"status {answer.status_code}")
    if answer.status_code == 416 and start:
        return
    if answer.status_code not in (200, 206):
        raise WeightsError(
            f"The server does not give {file.name}. Received: status {answer.status_code} ({answer.reason}) from "
            f"{answer.url}."
        )
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise WeightsError(
            f"The server answered with a web page instead of {file.name}. Received: {kind} from {answer.url}. A proxy, "
            "or a network that wants a login, may stand between: open the address in a browser."
        )
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise WeightsError(
            f"The server packs {file.name}. Received: Content-Encoding {answer.headers['Content-Encoding']} from "
            f"{answer.url}."
        )
    if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise WeightsError(
            f"The server sent another part of {file.name} than the one asked for. Received: Content-Range "
            f"{answer.headers.get('Content-Range')!r} from {answer.url}. Expected: from byte {start}."
        )


def _expected_size(file: File, answer, start: int) -> int | None:
    """Bytes of the whole file, by the record or else by the server."""
    length = answer.headers.get("Content-Length", "")
    stated = start + int(length) if length.isdigit() else None
    if file.size is not None and stated not in (None, file.size):
        raise WeightsError(
            f"The server has another file of the name {file.name}. Received: {stated:,} bytes from {answer.url}. "
            f"Expected: {file.size:,} bytes."
        )
    return file.size if file.size is not None else stated


def _check_room(file: File, part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        raise WeightsError(
            f"The disk is too full for {file.name}. Received: {free:,} free bytes in {str(part.parent)!r}; it needs "
            f"{needed:,}. Make room, or set KZOO_HOME to a folder on another disk."
        )


def _give_up(file, part, reason, number=None):
    """Raise; what has arrived is deleted, so that a full disk does not stay full."""
    part.unlink(missing_ok=True)
    full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = " Make room, or set KZOO_HOME to a folder on another disk." if full else ""
    raise WeightsError(f"Cannot fetch {file.name}. Received: {reason}. Nothing was kept.{hint}") from None


@contextmanager
def _shown(show: bool, file: File, start: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show progress in megabytes of what is still to come."""
    if not show or total is None:
        yield lambda count: None
        return
    arrived = 0
    with progress(f"Fetching {file.name.rpartition('/')[2]}, MB", (total - start) // 10**6) as advance:

        def count(received: int) -> None:
            nonlocal arrived
            before, arrived = arrived, arrived + received
            advance(arrived // 10**6 - before // 10**6)

        yield count


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _is_out_of_reach(error: BaseException) -> bool:
    """Whether not even a connection was made: no network, an unknown name, nobody there, a certificate of another."""
    import requests
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    cause = _cause(error)
    return isinstance(error, requests.exceptions.SSLError) or isinstance(
        cause, ConnectTimeoutError | NewConnectionError
    )


def _reason(error: BaseException) -> str:
    """What went wrong, without the layers of the libraries."""
    import requests

    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "a cut connection"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    return re.sub(r"^\w+\(host=[^)]*\): ", "", " ".join(str(_cause(error)).split()))


def _cause(error: BaseException) -> BaseException:
    """The innermost of the errors that the libraries wrap into each other."""
    while isinstance(inner := getattr(error, "reason", None) or (error.args or ("",))[-1], BaseException):
        error = inner
    return error
