"""The ImageNet weights of keras.applications: addresses and md5 sums as in the source of Keras 3.15.1.

The figures are those of the table at keras.io/api/applications, which gives them to a tenth of a percent. Keras states
neither a licence nor how images were scaled and cropped.
"""

from kzoo.weights.record import CAFFE, TF, File, imagenet_record, quoted

PAGE = "https://keras.io/api/applications/"
ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications"
ROWS = (
    # model, folder, preprocessing, top-1 and top-5 in percent, md5 with the top, md5 without
    ("vgg16", "vgg16", CAFFE, 71.3, 90.1, "64373286793e3c8b2b4e3219cbf3544b", "6d6bbae143d832006294945121d1f1fc"),
    ("vgg19", "vgg19", CAFFE, 71.3, 90.0, "cbe5617147190e668d6c5d5026f83318", "253f8cb515780f3b799900260a226db6"),
    ("resnet50", "resnet", CAFFE, 74.9, 92.1, "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    ("resnet101", "resnet", CAFFE, 76.4, 92.8, "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
    ("resnet152", "resnet", CAFFE, 76.6, 93.1, "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
    ("resnet50_v2", "resnet", TF, 76.0, 93.0, "3ef43a0b657b3be2300d5770ece849e0", "fac2f116257151a9d068a22e544a4917"),
    ("resnet101_v2", "resnet", TF, 77.2, 93.8, "6343647c601c52e1368623803854d971", "c0ed64b8031c3730f411d2eb4eea35b5"),
    ("resnet152_v2", "resnet", TF, 78.0, 94.2, "a49b44d1979771252814e80f8ec446f9", "ed17cf2e0169df9d443503ef94b23b33"),
)


def _record(model, folder, preprocessing, top1, top5, md5, include_top):
    name = f"{model.replace('_', '')}_weights_tf_dim_ordering_tf_kernels{'' if include_top else '_notop'}.h5"
    return imagenet_record(
        model=model,
        tag="keras_in1k" if include_top else "keras_in1k_notop",
        source="keras",
        project=PAGE,
        licence=None,
        format="keras_h5",
        files=(File(name=name, url=f"{ADDRESS}/{folder}/{name}", md5=md5),),
        preprocessing=preprocessing,
        accuracy=quoted(round(top1 / 100, 3), round(top5 / 100, 3), "keras.io", date="2026-11-30")
        if include_top
        else None,
        include_top=include_top,
    )


RECORDS = tuple(
    _record(model, folder, preprocessing, top1, top5, md5, include_top)
    for model, folder, preprocessing, top1, top5, *sums in ROWS
    for md5, include_top in zip(sums, (True, False), strict=True)
)
