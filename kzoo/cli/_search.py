"""What `kzoo train` and `kzoo finetune` take from a search: its best trial."""

from dataclasses import replace
from typing import Any

from kzoo.errors import InvalidArgument


def from_search(folder: str, command: str, *given: Any) -> tuple[list, dict]:
    """The configurations of a search's best trial, but for what flags say, and the rest of its config.json.

    Args:
        folder: The search directory.
        command: "train" or "finetune".
        *given: What flags say: a TrainConfig, for finetune also a TransferConfig.

    Raises:
        InvalidArgument: Not a search directory, or one of the other command.
        RunError: The search is not finished.
    """
    from kzoo.search.searching import best_run
    from kzoo.transfer.config import TransferConfig

    best = best_run(folder)
    own = "finetune" if "transfer" in best else "train"
    if own != command:
        raise InvalidArgument(f"This is a search of kzoo {own}. Received: {folder!r}. Use kzoo {own} --from-search.")
    # Of what was left to kzoo, this machine may want another than the search's.
    found = [replace(best["train"], **best["requested"]), TransferConfig(**best.get("transfer", {}))]
    said = [
        {name: value for name, value in vars(config).items() if value != getattr(type(config), name)}
        for config in given
    ]
    said[0].setdefault("seed", given[0].seed)
    configs = [replace(of_search, **changes) for of_search, changes in zip(found, said, strict=False)]
    requested = {name: getattr(configs[0], name) for name in best["requested"]}
    return configs, {"requested": requested, "model": best["model"], "data": {"load": best["data"]["load"]}}
