"""What holds for every model of the zoo: its gradient, its file, half precision, and another backend."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import one_step
import pytest

import kzoo
from kzoo.backend import keras, tf
from kzoo.models import registry

WITH_HEADS = ["inception_v1 with heads", "inception_v1_bn with heads"]
# Not the quickest; a smaller net of the same blocks is among the others.
SLOW = ("101", "152", "wide", "resnext", "110", "56", "44", "34", "vgg13", "vgg16", "vgg19")


def build(name, **arguments):
    """The model with ten classes, for images as small as its family takes."""
    model, _, heads = name.partition(" with ")
    size = 79 if heads else 32
    shape = registry.defaults(model)[0] if model == "mnist_net" else (size, size, 3)
    options = {"input_shape": shape, "classes": 10, "classifier_activation": None, "auxiliary_heads": bool(heads)}
    return kzoo.create_model(model, **options, **arguments)


def pixels(model, batch=4):
    return np.random.default_rng(0).integers(0, 256, (batch, *model.input_shape[1:]), "uint8")


def not_initial(weights):
    """The weights with others for the zeros and ones that every new model has."""
    random = np.random.default_rng(0)
    return [random.uniform(0.5, 1.5, w.shape).astype("float32") if w.ndim == 1 else w for w in weights]


def by_head(outputs):
    return outputs if isinstance(outputs, dict) else {"predictions": outputs}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if any(s in name for s in SLOW) else ())
        for name in [*kzoo.list_models(), *WITH_HEADS]
    ],
)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def net(name):
    """The model; weights that a test changes it puts back."""
    keras.utils.set_random_seed(0)
    return build(name)


def test_gradient_reaches_every_trainable_variable(net):
    state = net.get_weights()
    with tf.GradientTape() as tape:
        outputs = by_head(net(pixels(net), training=True))
        loss = tf.add_n([tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 3], x) for x in outputs.values()])
    variables = net.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    net.set_weights(state)  # the moving statistics
    # Normalization takes the mean away, and with it what a convolution's bias before it adds, at once or (resnet50_v2)
    # after a sum: that gradient is zero but for rounding.
    normalized = any(isinstance(layer, keras.layers.BatchNormalization) for layer in net.layers)
    vanishing = {
        layer.bias.path
        for layer in net.layers
        if normalized and isinstance(layer, keras.layers.Conv2D) and layer.use_bias
    }
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient) or variable.path in vanishing, variable.path


@pytest.fixture(scope="module")
def fresh_process(child_environment, tmp_path_factory):
    """A process that has built nothing: given a model's file and images, it answers with the model's outputs."""
    code = """
import json, sys
import kzoo
for line in sys.stdin:
    path, images, outputs = json.loads(line)
    model = kzoo.load_model(path)
    import numpy as np
    found = model(np.load(images))
    found = found if isinstance(found, dict) else {"predictions": found}
    np.savez(outputs, **{head: np.asarray(x) for head, x in found.items()})
    print("done", flush=True)
"""
    folder = tmp_path_factory.mktemp("fresh")
    command = [sys.executable, "-c", code]
    with (folder / "errors.txt").open("w+") as errors:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        process: Any = subprocess.Popen(command, text=True, env=child_environment, **pipes)
        with process:

            def outputs(path, images):
                np.save(folder / "images.npy", images)
                process.stdin.write(json.dumps([str(path), f"{folder}/images.npy", f"{folder}/outputs.npz"]) + "\n")
                process.stdin.flush()
                assert process.stdout.readline() == "done\n", (folder / "errors.txt").read_text()[-4000:]
                with np.load(folder / "outputs.npz") as found:
                    return dict(found)

            yield outputs
            process.stdin.close()


def test_saved_model_gives_the_same_bits_in_a_fresh_process(net, fresh_process, tmp_path):
    state = net.get_weights()
    net.set_weights(not_initial(state))
    net.save(tmp_path / "net.keras")
    expected = by_head(net(pixels(net, 2)))
    net.set_weights(state)
    found = fresh_process(tmp_path / "net.keras", pixels(net, 2))
    (tmp_path / "net.keras").unlink()  # up to half a gigabyte
    assert sorted(found) == sorted(expected)
    for head, values in expected.items():
        assert np.isfinite(values).all()
        assert np.ptp(values) > 0
        np.testing.assert_array_equal(found[head], values)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_outputs_are_float32_under_half_precision(name, net, policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build(name)
    finally:
        keras.config.set_dtype_policy(before)
    assert {w.dtype for w in model.weights} == {"float32"}
    convolutions = {layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.Conv2D)}
    assert convolutions == {policy.removeprefix("mixed_")}
    model.set_weights(net.get_weights())
    images = pixels(model)
    if name in (*one_step.MODELS, *WITH_HEADS):
        exact, outputs = by_head(net(images)), by_head(model(images))
        assert sorted(outputs) == sorted(exact)
        for head, values in outputs.items():
            assert values.dtype == "float32"
            # Half precision of 8 bits through up to 50 layers.
            np.testing.assert_allclose(values, exact[head], atol=0.1 * np.abs(exact[head]).max())
            assert not np.array_equal(values, exact[head])
    # As in training, because without normalization the sums of an untrained net grow past float16 in a hundred layers.
    for values in by_head(model(images, training=True)).values():
        assert values.dtype == "float32"
        assert np.isfinite(values).all()


@pytest.mark.slow
def test_one_model_a_family_runs_and_trains_on_jax(tmp_path, child_environment):
    given, expected = {}, {}
    for name in one_step.MODELS:
        keras.utils.set_random_seed(0)
        model = one_step.build(name)
        weights = not_initial(model.get_weights())
        given |= {f"{name}:weight {i}": w for i, w in enumerate(weights)}
        # With fewer, normalization in the last stage, of one pixel, magnifies rounding a hundred times.
        given[f"{name}:images"] = images = pixels(model, 16)
        expected[name] = one_step.run(name, images, weights)
    np.savez(tmp_path / "given.npz", **given)

    # Compiling takes nearly all of the time; what comes out is as right without optimization.
    flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    environment = {**child_environment, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags}
    command = [sys.executable, one_step.__file__, tmp_path / "given.npz", tmp_path / "results.npz"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == "jax\n"
    with np.load(tmp_path / "results.npz") as results:
        for name, values in expected.items():
            for key, value in values.items():
                found = results[f"{name}:{key}"]
                if key in ("logits", "loss"):
                    np.testing.assert_allclose(found, value, rtol=0, atol=1e-4 * np.abs(value).max(), err_msg=name)
                    continue
                # Rounding flips a few ReLUs, which moves small gradients by up to some percent (seen: 2); a step of a
                # weight of order 1 is itself rounded.
                apart = np.linalg.norm(np.ravel(found - value))
                assert apart < 0.1 * np.linalg.norm(np.ravel(value)) + 1e-6 * value.size**0.5, (name, key)
