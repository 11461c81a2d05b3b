"""What every row of docs/from-the-pytorch-port.md must result in.

Flags and hyper-parameters with their values, by the row's section and by the
first way to write it in the port.
"""

from __future__ import annotations

from collections.abc import Mapping

CODE = "What the port has in its code"

# projects/mine.yml, and what it says here.
FILE = (
    "mean: [0.5, 0.5, 0.5]\nanchors_scales: '[1, 2 ** 0.5]'\n"
    "anchors_ratios: '[(1.4, 0.7)]'\nobj_list: ['car']\nnum_gpus: 1\n"
)
FROM_FILE = {
    "mean_rgb": (127.5, 127.5, 127.5),
    "num_scales": 2,
    "aspect_ratios": ((1.4, 0.7),),
    "label_map": ("car",),
}
AS_GIVEN = {
    "learning_rate": 1e-4,
    "learning_rate_batch": 0,
    "lr_warmup_epoch": 0.0,
}
ON_CPU = {"allow_cpu": True}
HEADS = "(efficientnet|fpn_cells|resample_p)"
PAIRS = ((1.0, 1.0), (1.4, 0.7))

ROWS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "train.py": {
        "-p mine": FROM_FILE,
        "-c 3": {"model_name": "efficientdet-d3"},
        "-c 8": {"model_name": "efficientdet-d7x"},
        "--batch_size 12": {"train_batch_size": 12},
        "--lr 1e-4": AS_GIVEN,
        "--optim adamw": {"optimizer": "adam"},
        "--optim sgd": {"optimizer": "sgd", "momentum": 0.9},
        "--alpha 0.25": {"alpha": 0.25},
        "--gamma 1.5": {"gamma": 1.5},
        "--num_epochs 50": {"num_epochs": 50},
        "--load_weights efficientdet-d0.pth": {"ckpt": "efficientdet-d0.pth"},
        "--load_weights last": {"model_dir": "logs/mine", "ckpt": None},
        "--load_weights None": {"model_dir": "logs/new", "ckpt": None},
        "--head_only True": {"var_freeze_expr": HEADS},
        "10 epochs of --head_only True": {
            "var_freeze_expr": HEADS,
            "freeze_epochs": 10,
        },
        "--num_workers 12": {"num_threads": 12},
        "--val_interval 1": {"map_freq": 1},
        "--save_interval 500": {"save_checkpoints_steps": 500},
        "--es_min_delta 0.0": {"num_epochs": 50},
        "--es_patience 5": {"num_epochs": 50},
        "--data_path datasets/": {
            "train_file_pattern": "records/train-*.tfrecord",
            "val_file_pattern": "records/val-*.tfrecord",
        },
        "--log_path logs/": {"model_dir": "logs/mine"},
        "--saved_path logs/": {"model_dir": "logs/mine"},
        "--debug True": {"num_pictures": 8},
    },
    "coco_eval.py": {
        "-p mine": {"val_file_pattern": "records/val-*.tfrecord"},
        "-c 3": {"model_dir": "logs/mine"},
        "-w logs/mine/w.pth": {
            "ckpt": "logs/mine/checkpoints/step-00000120",
        },
        "--nms_threshold 0.5": {"method": "hard", "iou_thresh": 0.5},
        "--cuda False": ON_CPU,
        "--device 1": {"CUDA_VISIBLE_DEVICES": "1"},
        "--float16 True": {"eval_batch_size": 8},
        "--override True": {"output_dir": "figures"},
    },
    "efficientdet_test.py": {
        "compound_coef = 0": {"model_dir": "logs/mine"},
        "force_input_size = 640": {"image_size": (640, 640)},
        "img_path = 'test/img.png'": {"image": "test/img.png"},
        "anchor_ratios = [(1.0, 1.0), (1.4, 0.7)]": {"aspect_ratios": PAIRS},
        "anchor_scales = [2 ** 0, 2 ** 0.5]": {"num_scales": 2},
        "threshold = 0.2": {"min_score": 0.2},
        "iou_threshold = 0.2": {"method": "hard", "iou_thresh": 0.2},
        "use_cuda = False": ON_CPU,
        "use_float16 = False": {"model_dir": "logs/mine"},
        "obj_list = ['person']": {"model_dir": "logs/mine"},
    },
    CODE: {
        "no warm-up": {"lr_warmup_epoch": 0.0},
        "ReduceLROnPlateau": {"lr_decay_method": "cosine"},
        "no moving average": {"moving_average_decay": 0.0},
        "no gradient clipping": {"clip_gradients_norm": 0.0},
        "mirroring alone": {"jitter_min": 1.0, "jitter_max": 1.0},
        "focal loss with gamma = 2.0": {"gamma": 2.0},
    },
}

# The command at the top of the document.
COMMAND: Mapping[str, object] = {
    "mode": "train_and_eval",
    "train_file_pattern": "records/train-*.tfrecord",
    "val_file_pattern": "records/val-*.tfrecord",
    "model_name": "efficientdet-d0",
    "model_dir": "logs/mine",
    "train_batch_size": 12,
    "num_epochs": 50,
    "optimizer": "adam",
    **AS_GIVEN,
    **FROM_FILE,
}
