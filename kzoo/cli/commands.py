"""The commands and what is said of each in `kzoo --help`."""

from importlib.metadata import version

from cyclopts import App, Parameter

from kzoo.cli._config import take_from_file
from kzoo.cli._help import show_help, shown_default
from kzoo.cli._options import note_given

app = App(
    name="kzoo",
    help="The classic CNNs for Keras 3: train, evaluate and predict.",
    version=lambda: f"kzoo {version('kzoo')}",
    help_format="plaintext",
    default_parameter=Parameter(negative=(), show_default=shown_default),
    help_formatter=show_help,
    config=(take_from_file, note_given),
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # kzoo.cli tells of it
)
for _name, _function, _help in (
    ("list", "models:list_command", "List the models of the zoo."),
    (
        "info",
        "models:info_command",
        "Show what a model or a dataset is.\n\nOf a model: parameters, multiply-adds, depth, and what each stage sees. "
        "Of a dataset: classes, splits, sizes, bad images, copies, and how kzoo would train on it.",
    ),
    ("train", "train:command", "Train a model on a dataset, or resume a run."),
    (
        "finetune",
        "finetune:command",
        "Fine-tune a pretrained model on your images, or resume a run.\n\n`kzoo finetune PHOTOS` takes kzoo's default "
        "model, `kzoo finetune MODEL PHOTOS` another one. A new classifier is trained with the rest frozen, then the "
        'upper stages with it. Flags without "head" are of the second phase; batch size, seed and devices are of both.',
    ),
    (
        "lr-find",
        "lr_find:command",
        "Find a learning rate for a training.\n\nTries rates on its first steps, each a little higher, until the loss "
        "rises. Nothing is kept but the picture that --out asks for.",
    ),
    (
        "launch",
        "launch:command",
        "Train with several workers on this machine.\n\n`kzoo launch --workers 2 train mnist_net digits`: each batch "
        "is shared out, and the run is that of one process. On several machines the same command runs by TF_CONFIG or "
        "SLURM: docs/several_machines.md.",
    ),
    ("search", "search:command", "Search for the hyperparameters that train a model best."),
    (
        "evaluate",
        "evaluate:command",
        "Score trained models on labelled images.\n\nShows accuracy with its 95 % interval, calibration, the classes, "
        "and the most confident mistakes; of several runs a row each.",
    ),
    (
        "ensemble",
        "ensemble:command",
        "Average trained models into one.\n\nThe folder it writes is a run as any other: `kzoo evaluate`, `kzoo "
        "predict` and `kzoo finetune` take it. `kzoo train --members N` trains the members too.",
    ),
    ("predict", "predict:command", "Classify images with a trained or exported model."),
    (
        "export",
        "export:command",
        "Export a trained model to another engine: a file that anyone can run.\n\nIt takes bytes and gives "
        "probabilities, with preprocessing and class names inside, and is checked against Keras before it is handed "
        "over. kzoo predict and kzoo evaluate take the file.",
    ),
    ("weights", "weights:app", "List, fetch, verify and add pretrained weights."),
    ("augment", "augment:command", "Show what augmentation makes of a dataset's images, in a picture."),
    ("bench", "bench:command", "Measure kzoo against plain Keras on this machine."),
    ("doctor", "doctor:command", "Tell what kzoo would use on this machine, and what is wrong."),
):
    # A command's module is imported when it is called.
    app.command(f"kzoo.cli.{_function}", name=_name, help=_help)
app.register_install_completion_command(help="Install completion of commands and flags for this shell.")
