"""The help of a command: flags in groups where there are many, and what to try for a flag that is not there."""

import re
from collections.abc import Iterator
from typing import Any

GROUPS = {
    "Data": "all_data data_dir download on_bad_image image_size channels augment class_weight",
    "Model": "weights like fetch dropout auxiliary_heads auxiliary_weight",
    "Ensemble and distillation": "members teacher temperature",
    "Fine-tuning": "head_epochs head_learning_rate unfreeze layer_decay batch_norm views",
    "Search": "algorithm trials workers seeds top space print_space time_limit trial_time_limit trial_memory_limit",
    "Optimization": (
        "epochs passes_per_epoch batch_size optimizer learning_rate momentum epsilon weight_decay label_smoothing "
        "early_stopping clip_norm gradient_accumulation_steps ema_momentum swa_epochs seed"
    ),
    "Learning-rate schedule": "schedule warmup_epochs final_learning_rate decay_epochs decay_rate power patience",
    "Devices": "precision strategy devices sync_batch_norm steps_per_execution",
}
# All other flags.
LAST_GROUP = "Run and output"
# A panel of fewer flags needs no groups.
MANY = 20
# What other programs call a flag: timm, torchvision, fastai and Keras, and what people type.
SYNONYMS = {
    "learning-rate": "lr base-lr max-lr lr-max blr learn-rate",
    "final-learning-rate": "min-lr lr-min end-lr",
    "head-learning-rate": "head-lr",
    "batch-size": "bs b batch batchsize",
    "epochs": "n-epochs num-epochs nb-epochs max-epochs e epoch",
    "head-epochs": "freeze-epochs",
    "optimizer": "opt optim",
    "epsilon": "eps opt-eps",
    "weight-decay": "wd decay l2",
    "label-smoothing": "smoothing ls",
    "schedule": "sched scheduler lr-scheduler lr-schedule",
    "warmup-epochs": "warmup lr-warmup-epochs warmup-steps",
    "decay-epochs": "milestones lr-steps lr-step-size step-size",
    "decay-rate": "gamma lr-gamma lr-decay",
    "patience": "patience-epochs",
    "early-stopping": "early-stop es",
    "clip-norm": "clip-grad clipnorm grad-clip global-clipnorm clip-grad-norm",
    "gradient-accumulation-steps": "grad-accum-steps accumulate accumulation-steps",
    "ema-momentum": "ema model-ema model-ema-decay ema-decay",
    "swa-epochs": "swa stochastic-weight-averaging swa-start",
    "layer-decay": "lr-mult discriminative",
    "augment": "aug aa auto-augment augmentation mixup cutmix data-augmentation",
    "precision": "amp fp16 bf16 mixed-precision dtype half",
    "devices": "device gpu gpus gpu-id",
    "strategy": "distribute dist distributed",
    "sync-batch-norm": "sync-bn",
    "steps-per-execution": "spe",
    "image-size": "img-size input-size size imgsz image-shape input-shape resize",
    "channels": "in-chans in-channels",
    "dropout": "drop drop-rate",
    "weights": "pretrained initial-checkpoint checkpoint-path ckpt",
    "unfreeze": "freeze-to fine-tune-at",
    "seed": "random-seed random-state",
    "data-dir": "data data-path dataset-dir root",
    "download": "dataset-download",
    "run-dir": "output output-dir out out-dir save-dir save logdir log-dir exp-name name project",
    "resume": "continue restore checkpoint",
    "overwrite": "force exist-ok f",
}
_FLAGS = {name: flag for flag, names in SYNONYMS.items() for name in names.split()}


def show_help(console: Any, options: Any, panel: Any) -> None:
    """Print a panel of cyclopts's help, or one for each group of its flags, each text as one paragraph."""
    from cyclopts.help import DefaultFormatter

    for part in _groups(panel):
        entries = [entry.copy(description=_paragraph(entry.description)) for entry in part.entries]
        DefaultFormatter()(console, options, part.copy(entries=entries))


def _groups(panel: Any) -> Iterator[Any]:
    if panel.format == "command" or len(panel.entries) < MANY:
        yield panel
        return
    titles = {f"--{name.replace('_', '-')}": title for title, names in GROUPS.items() for name in names.split()}
    for title in (*GROUPS, LAST_GROUP):
        found = [entry for entry in panel.entries if titles.get(entry.names[0], LAST_GROUP) == title]
        if found:
            yield panel.copy(title=title, entries=found)


def _paragraph(description: Any) -> Any:
    """A text without the line ends that its docstring has."""
    text: Any = getattr(description, "primary_renderable", None)
    if hasattr(text, "plain"):
        text.plain = re.sub(r"\s*\n\s*", " ", text.plain)
    return description


def shown_default(value: Any) -> str | None:
    """A default as help shows it: not that of a flag which is off or a list which is empty."""
    if value is None or value is False or value == ():
        return None
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def explain(error: Any) -> str:
    """Say what is wrong with a flag that is not there, and what the command calls it, if other programs have it.

    Args:
        error: cyclopts's UnknownOptionError.
    """
    typed = error.token.keyword or error.token.value
    meant = f"--{_FLAGS.get(typed.partition('=')[0].lstrip('-').replace('_', '-').lower())}"
    names = {name for argument in error.argument_collection for name in argument.names}
    return f"Unknown option: {typed}. Did you mean {meant}?" if meant in names else str(error)
