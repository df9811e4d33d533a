"""From a resolved config to a `tf.distribute.Strategy`, and what it takes for its replicas to act as one device."""

import functools
from collections.abc import Iterator

from kzoo import workers
from kzoo.backend import compiled, keras, layers_within, tf
from kzoo.chatter import without_chatter
from kzoo.data.pipeline import Replicas, shared_out
from kzoo.errors import InvalidArgument, KzooError
from kzoo.layers import BatchNormalization
from kzoo.train.config import TrainConfig

# Added to the seed of each further replica's random layers: a prime beyond the seeds that Keras draws (below 1e9).
SEED_STRIDE = 1_000_000_007
# Numbers set aside for the collective operations of a strategy: one for each set of devices that it reduces over.
COLLECTIVE_KEYS = 1000


def create_strategy(config: TrainConfig, kind: str, count: int):
    """The strategy for `count` devices of `kind` ("cpu" or "gpu"); the caller has resolved them.

    That of several workers must come before anything else that TensorFlow computes.
    """
    if tf.distribute.has_strategy():
        raise InvalidArgument(
            "kzoo.train makes its own strategy. Received: a call within strategy.scope(). Leave the scope, and say "
            "which devices with TrainConfig(strategy=..., devices=...)."
        )
    if config.strategy == "one":
        keep_off_the_gpu = kind == "cpu" and tf.config.list_physical_devices("GPU")
        return tf.distribute.OneDeviceStrategy("/cpu:0") if keep_off_the_gpu else tf.distribute.get_strategy()
    if config.strategy == "multiworker":
        return _multi_worker(kind, count)
    if kind == "cpu":
        _make_logical_cpus(count)
    names = [device.name.removeprefix("/device:") for device in tf.config.list_logical_devices(kind.upper())]
    return _mirrored(names[:count])


@functools.cache
def _multi_worker(kind: str, count: int):
    """The MultiWorkerMirroredStrategy of this process: TensorFlow takes one cluster in a process."""
    if workers.current() is None:
        raise InvalidArgument(
            "Several workers train in kzoo train and kzoo finetune alone. Received: strategy 'multiworker'. Leave it "
            "out, or use --strategy one."
        )
    if kind == "cpu" and count > 1:
        raise InvalidArgument(
            f"Each of several workers trains on one CPU device. Received: devices='cpu:{count}'. Leave it out; more "
            "workers share the cores."
        )
    try:
        tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[: count if kind == "gpu" else 0], "GPU")
        with without_chatter():
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, tf.errors.OpError) as error:
        raise KzooError(
            f"TensorFlow has started and cannot join other workers any more. Received: {error}. Train before anything "
            "else in this process runs TensorFlow."
        ) from None
    # Else an all-reduce at each step would ask whether any worker has a batch left. All have as many, none empty.
    strategy.extended.experimental_enable_get_next_as_optional = False
    return strategy


def own_replicas(strategy) -> Replicas | None:
    """Those whose images this process reads; None where it is the only process."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return None
    count, of = len(strategy.extended.worker_devices), strategy.num_replicas_in_sync
    first = workers.current().cluster.index * count  # pyright: ignore[reportOptionalMemberAccess] - `_multi_worker`
    return Replicas(range(first, first + count), of)


def _mirrored(devices: list[str]):
    """A MirroredStrategy whose collective operations have numbers of their own.

    Each strategy numbers its operations from the same start, and TensorFlow takes one of the same number for the same:
    after a run of another model in the process it fails with "Shape mismatch in the collective instance". So the base
    is moved before and after, as TensorFlow's own tests do.
    """
    kind = tf.distribute.MirroredStrategy
    kind._collective_key_base += COLLECTIVE_KEYS
    strategy = kind(devices)
    kind._collective_key_base += COLLECTIVE_KEYS
    return strategy


def _make_logical_cpus(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError:  # TensorFlow has started: it keeps the devices it has
        if len(tf.config.list_logical_devices("CPU")) < count:
            raise KzooError(
                f"TensorFlow has started with fewer than {count} logical CPU devices and cannot add any. "
                f"Received: devices='cpu:{count}'. Train before anything else in this process runs TensorFlow."
            ) from None


def check_made_in_scope(model, strategy) -> None:
    """Raise InvalidArgument unless the model's variables are the strategy's.

    TensorFlow would fail with an empty AssertionError in the middle of the first step.
    """
    if not all(strategy.extended.variable_created_in_scope(v.value) for v in model.variables):
        raise InvalidArgument(
            f"build must make a new model, for {strategy.num_replicas_in_sync} replicas. Received: the model "
            f"{model.name!r}, made before. Create it inside the function: build=lambda: create_model(...)."
        )


def synchronize_batch_norm(model) -> None:
    """Have every BatchNormalization of the model normalize by the statistics of all replicas' images.

    Raises:
        InvalidArgument: One of them is Keras's, which would compute the variance as E[x^2] - E[x]^2.
    """
    for layer in layers_within(model):
        if isinstance(layer, BatchNormalization):
            layer.synchronized = True
        elif isinstance(layer, keras.layers.BatchNormalization):
            raise InvalidArgument(
                "sync_batch_norm works with kzoo.layers.BatchNormalization, which has Keras's arguments, weights and "
                f"results. Received: a keras.layers.BatchNormalization, {layer.name!r}. Build the model with kzoo's."
            )


def share_out(batches, strategy) -> Iterator:
    """Iterate over global batches as the replicas take them: (images, labels, weight of each example).

    Args:
        batches: A `tf.data.Dataset` of (images, labels); of several workers what `own_replicas` take.
        strategy: Its replicas take a batch as `pipeline.shared_out` says.
    """
    replicas = strategy.num_replicas_in_sync
    if own_replicas(strategy) is not None:
        return iter(strategy.distribute_datasets_from_function(lambda _: batches))
    if replicas == 1:
        return iter(batches.map(lambda images, labels: (images, labels, 1.0)))
    shared = shared_out(batches, Replicas(range(replicas), replicas))
    return iter(strategy.distribute_datasets_from_function(lambda _: shared))


def give_each_replica_its_own_seeds(model) -> None:
    """Make dropout and other random layers draw differently on each replica; Keras's replicas draw the same.

    A function of the first replica's seeds, which are what a checkpoint holds: repeat it after each restore.
    """
    strategy = tf.distribute.get_strategy()
    if strategy.num_replicas_in_sync == 1:
        return
    seeds = seeds_of(model)

    def shift():
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int64)
        for seed in seeds:
            assign_here(seed, seed.value + tf.stack([replica * SEED_STRIDE, 0]))

    compiled(lambda: strategy.run(shift))()


def seeds_of(model) -> list:
    """The variables of a model that its random layers draw by."""
    weights = {id(v) for v in model.weights}
    return [v for v in model.variables if id(v) not in weights]


def statistics(model) -> list:
    """The variables that a forward pass in training may change, such as moving means; frozen weights are not."""
    found = {id(v): v for layer in layers_within(model) for v in layer._non_trainable_variables}
    return [v for v in found.values() if tf.as_dtype(v.dtype).is_floating]


def average_statistics(model) -> None:
    """Inside a replica: make the statistics that every replica keeps for itself their mean.

    Those of Keras's BatchNormalization drift apart, and what is saved are the first replica's. kzoo's needs no help.
    """
    replica = tf.distribute.get_replica_context()
    drifting = [v for v in statistics(model) if v.aggregation == "none"]
    if replica.num_replicas_in_sync == 1 or not drifting:
        return
    values = replica.all_reduce("MEAN", [tf.identity(v.value) for v in drifting])
    for variable, value in zip(drifting, values, strict=True):
        assign_here(variable, value)


def assign_here(variable, value) -> None:
    """Inside a replica: assign to this replica's copy of a Keras variable, without a word to the others."""
    tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=value)
