"""Learning rates by stage: the lower a stage, the more general is what it has learned, and the less it is changed."""

from kzoo import functional
from kzoo.backend import keras, layers_within, models_within
from kzoo.graph.endpoints import stages
from kzoo.outputs import classifier_layer
from kzoo.transfer.freezing import ancestors, direct_weights, leaves, parent
from kzoo.transfer.surgery import side_by_side

# The size of images at which stages are compared, where a model leaves it open.
ANY = 224


def rate_factors(model, decay: float) -> dict[int, float]:
    """What the learning rate of each weight is multiplied by (Howard & Ruder, 2018, section 3.2, with other rates).

    The classifier has 1, what is right below it `decay`, and each stage `decay` times what the stage above has. Where
    no stage of a paper is known of a model, all that is below the classifier has `decay`.

    Args:
        model: A classifier, frozen or not.
        decay: Above 0, at most 1.

    Returns:
        The factor by the `id` of each of the model's weights: in models within models a path may come twice.

    >>> import kzoo
    >>> model = kzoo.create_model("resnet18")
    >>> factors = rate_factors(model, 0.5)
    >>> [factors[id(model.get_layer(layer).kernel)] for layer in ("predictions", "conv5_block2_2_conv", "conv1_conv")]
    [1.0, 0.5, 0.03125]
    """
    networks = side_by_side(model)
    if len(networks) > 1:
        below = {key: factor for one in networks for key, factor in rate_factors(one, decay).items()}
        return {id(weight): below.get(id(weight), 1.0) for weight in model.weights}
    levels = _levels(model)
    top = max(levels.values(), default=0)
    return {id(weight): decay ** (top - levels[id(leaf)]) for leaf in leaves(model) for weight in direct_weights(leaf)}


def lowest_of_last_size(model) -> str | None:
    """The lowest stage whose feature map is as small as that of the last one; None where no stage is known.

    >>> import kzoo
    >>> lowest_of_last_size(kzoo.create_model("inception_v1")), lowest_of_last_size(kzoo.create_model("resnet18"))
    ('inception_5a', 'conv5')
    """
    known = stage_outputs(model)
    if not known:
        return None
    images = _with_most_stages(model).inputs[0]
    # A model that takes any size has maps of unknown size, which differ all the same.
    shapes = keras.Model(images, list(known.values())).compute_output_shape((1, *(n or ANY for n in images.shape[1:])))
    sizes = [shape[1:3] for shape in shapes]
    return list(known)[sizes.index(sizes[-1])]


def stage_outputs(model) -> dict:
    """The output of each stage of a model that is known by its paper's name, from the lowest to the highest."""
    inner = _with_most_stages(model)
    tensors = functional.tensors_by_layer(inner)
    return {stage: tensors[layer] for stage, layer in stages(inner).items() if layer in tensors}


def _levels(model) -> dict[int, int]:
    """How far from the input each leaf is, in stages."""
    all_leaves = leaves(model)
    inner = _with_most_stages(model)
    levels, level = {}, 0
    for output in stage_outputs(model).values():
        level += 1
        for one in keras.Model(inner.inputs, output).layers:
            for leaf in layers_within(one):
                levels.setdefault(id(leaf), level)
    below = _before(model, inner)
    for leaf in all_leaves:  # what no stage needs is above all of them, or before the model that has them
        levels.setdefault(id(leaf), 0 if id(leaf) in below else level + 1)
    classifier = classifier_layer(model) or all_leaves[-1]
    levels[id(classifier)] = (
        level + 1 + any(levels[id(leaf)] == level + 1 and leaf.weights for leaf in all_leaves if leaf is not classifier)
    )
    return levels


def _with_most_stages(model):
    return max(models_within(model), key=lambda one: len(stages(one)))


def _before(model, inner) -> set[int]:
    """The leaves that a model within the model computes from."""
    found: set[int] = set()
    while inner is not model:
        outer = parent(model, inner)
        before = [one for one in ancestors(outer, inner.name) if one is not inner]
        found |= {id(leaf) for one in before for leaf in leaves(one)}
        inner = outer
    return found
