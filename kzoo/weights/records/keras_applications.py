"""The ImageNet weights of keras.applications: addresses and md5 sums as in the source of Keras 3.15.1.

Keras states neither a licence for them nor how often they are right, nor how images were scaled and cropped.
"""

from kzoo.weights.record import CAFFE, TF, File, imagenet_record

ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications"
ROWS = (
    # model, beginning of the file, preprocessing, md5 with the top, md5 without
    ("vgg16", "vgg16/vgg16", CAFFE, "64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
    ("vgg19", "vgg19/vgg19", CAFFE, "cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"),
    ("resnet50", "resnet/resnet50", CAFFE, "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    ("resnet101", "resnet/resnet101", CAFFE, "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
    ("resnet152", "resnet/resnet152", CAFFE, "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    ("resnet50_v2", "resnet/resnet50v2", TF, "3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917"),
    ("resnet101_v2", "resnet/resnet101v2", TF, "6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5"),
    ("resnet152_v2", "resnet/resnet152v2", TF, "a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33"),
)


def _record(model, start, preprocessing, md5, include_top):
    address = f"{ADDRESS}/{start}_weights_tf_dim_ordering_tf_kernels{'' if include_top else '_notop'}.h5"
    return imagenet_record(
        model=model,
        tag="keras_in1k" if include_top else "keras_in1k_notop",
        source="keras",
        project="https://keras.io/api/applications/",
        licence=None,
        format="keras_h5",
        files=(File(name=address.rpartition("/")[2], url=address, md5=md5),),
        preprocessing=preprocessing,
        include_top=include_top,
    )


RECORDS = tuple(
    _record(model, start, preprocessing, md5, include_top)
    for model, start, preprocessing, *sums in ROWS
    for md5, include_top in zip(sums, (True, False), strict=True)
)
