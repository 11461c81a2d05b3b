"""Two worker processes on this machine, and what becomes of them."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
# 32 images, batch 8: evaluations after steps 4 and 8, checkpoints after 3, 4,
# 6 and 8.
SETTINGS = (
    "image_size=64,fpn_cell_repeats=1,box_class_repeats=1,"
    "fpn_num_filters=16,optimizer=sgd,learning_rate=0.02,"
    "learning_rate_batch=0,moving_average_decay=0.9,map_freq=1,"
    "save_checkpoints_steps=3,keep_checkpoints=9,log_steps=1,num_pictures=1,"
    "survival_prob=0.8,wait_for_workers=240,num_threads=1"
)
_POLL_S = 0.1


class Pair:
    """Two workers of one run."""

    def __init__(
        self, records: pathlib.Path, folder: pathlib.Path, more: str = ""
    ) -> None:
        self._records, self._settings = records, SETTINGS + more
        self.model_dir = folder / "model"
        self._folder = folder
        self.num_epochs = 2
        self._starts = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        self._logs: list[pathlib.Path] = []

    def start(self) -> None:
        """Starts both workers with the same command."""
        ports = [_free_port() for _ in range(2)]
        addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
        self._starts += 1
        self._logs = [
            self._folder / f"worker-{i}-{self._starts}.log" for i in range(2)
        ]
        self.workers = [
            subprocess.Popen(
                self._command(addresses, i),
                cwd=ROOT,
                stdout=log.open("wb"),
                stderr=subprocess.STDOUT,
            )
            for i, log in enumerate(self._logs)
        ]

    def _command(self, addresses: str, index: int) -> list[str]:
        return [
            *_command(self._records, self.model_dir),
            "--strategy=multi-gpus",
            f"--worker={addresses}",
            f"--worker_index={index}",
            f"--num_epochs={self.num_epochs}",
            f"--hparams={self._settings},virtual_devices=1",
        ]

    def wait_for_line(self, text: str, seconds: float) -> None:
        """Returns when the chief has printed a line with that text."""
        end = time.monotonic() + seconds
        while text not in self.log(0):
            ended = [worker.poll() for worker in self.workers]
            assert ended == [None, None], (ended, self.log(0), self.log(1))
            assert time.monotonic() < end, (self.log(0), self.log(1))
            time.sleep(_POLL_S)

    def wait(self, seconds: float) -> list[int]:
        """Returns the exit codes of both."""
        end = time.monotonic() + seconds
        return [
            worker.wait(timeout=max(end - time.monotonic(), 0.1))
            for worker in self.workers
        ]

    def log(self, index: int) -> str:
        """Returns what a worker has printed since the newest start."""
        return self._logs[index].read_text(errors="replace")

    def close(self) -> None:
        """Ends what is still there."""
        for worker in self.workers:
            worker.kill()
            worker.wait()


def _command(records: pathlib.Path, model_dir: pathlib.Path) -> list[str]:
    return [
        sys.executable,
        "-m",
        "tests.distribution.worker",
        "--mode=train_and_eval",
        f"--train_file_pattern={records}/train*.tfrecord",
        f"--val_file_pattern={records}/val*.tfrecord",
        "--model_name=efficientdet-lite0",
        f"--model_dir={model_dir}",
        "--train_batch_size=8",
        "--eval_batch_size=8",
        "--allow_cpu",
    ]


def train_alone(records: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Trains the same on one device; returns the model_dir."""
    model_dir = folder / "alone"
    subprocess.run(
        [
            *_command(records, model_dir),
            "--num_epochs=2",
            f"--hparams={SETTINGS}",
        ],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return model_dir


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
