"""What `kzoo train` and `kzoo finetune` take from a search: its best trial."""

from dataclasses import asdict, fields
from typing import Any

from kzoo.cli._options import was_given
from kzoo.errors import InvalidArgument
from kzoo.train.config import TrainConfig
from kzoo.transfer.config import TransferConfig, to_dict


def from_search(
    folder: str, command: str, all_data: bool, config: TrainConfig, transfer: TransferConfig | None = None
) -> tuple[TrainConfig, dict]:
    """The training configuration of a search's best trial, but for what flags say, and the rest of its config.json.

    Args:
        folder: The search directory.
        command: "train" or "finetune".
        all_data: Whether to train without validation data.
        config: What flags say; the seed is its own in any case.
        transfer: Likewise, for "finetune".

    Raises:
        InvalidArgument: Not a search directory, or one of the other command.
        RunError: The search is not finished.
    """
    from kzoo.search.searching import best_of

    said = {"seed": config.seed, **_given(config)}
    best = best_of(folder, said, {} if transfer is None else _given(transfer), all_data=all_data)
    settings, own = best.settings, best.trial.train
    searched = "train" if settings.pretrained is None else "finetune"
    if searched != command:
        raise InvalidArgument(
            f"This is a search of kzoo {searched}. Received: {folder!r}. Use kzoo {searched} --from-search."
        )
    record: dict[str, Any] = {
        "requested": {name: getattr(own, name) for name in settings.requested},
        "model": {
            "name": best.trial.model,
            "arguments": best.trial.arguments,
            **(asdict(settings.pretrained) if settings.pretrained else {}),
        },
        "data": {"load": {**settings.load, "image_size": settings.image_size(best.trial.model)}},
    }
    if all_data:
        record["data"]["all_data"] = True
    if settings.pretrained is not None:
        record |= {"transfer": to_dict(best.trial.transfer), "kept": best.kept}
    return own, record


def _given(config: Any) -> dict[str, Any]:
    """The values of a configuration that flags say, be they the defaults or not."""
    return {field.name: getattr(config, field.name) for field in fields(config) if was_given(field.name)}
