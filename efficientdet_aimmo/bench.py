r"""Measures training, inference or input on this machine, without any data.

  python -m efficientdet_aimmo.bench train --json

What is measured is the first argument: 'train' takes training steps of made
batches, 'infer' detects in made images, the network and NMS, 'input' prepares
batches of made photographs (JPEG, 1920x1024) as training does. It ends within
--seconds, and says what was left out. With --json the JSON goes to the standard
output, and the table to the standard error.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections.abc import Callable

from absl import flags

from efficientdet_aimmo import cpu_flag, hparams_file
from efficientdet_aimmo.benching import asking, child, sweep
from hparams import config as config_lib
from hparams import override, presets
from tfrecord_tools import command

FLAGS = flags.FlagValues()

_VERBS = ("train", "infer", "input")
_PRECISIONS = ("float16", "float32", "bfloat16")
_PHOTOGRAPH = (1920, 1024)  # width, height
_NUM_SHARDS = 4
# Hyper-parameters that are swept over, and the flags that say how.
_OWN_FLAGS = {
    "precision": "precision",
    "use_xla": "xla",
    "train_batch_size": "batch_sizes",
}

flags.DEFINE_enum(
    "measure",
    None,
    list(_VERBS),
    "what is measured; may stand without the flag's name",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "model_name",
    None,
    "networks, commas between them; without it efficientdet-d0 to d4, on a CPU"
    " efficientdet-d0",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "precision",
    None,
    "train: float16, float32, bfloat16, commas between them; without it float16"
    " and float32, on a CPU float32",
    flag_values=FLAGS,
)
flags.DEFINE_enum(
    "xla",
    None,
    list(asking.XLA),
    "train: steps compiled by XLA (use_xla); without it both, on a CPU off",
    flag_values=FLAGS,
)
flags.DEFINE_list(
    "batch_sizes",
    None,
    "images of a step, commas between them; without it doubled from"
    f" {asking.DOUBLED[True][0]} to the end of memory, on a CPU from"
    f" {asking.DOUBLED[False][0]} to {asking.DOUBLED[False][1]}; input:"
    f" {asking.INPUT_BATCH}",
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "hparams",
    "",
    "further settings of all networks: FILE.yaml, or name=value,name=value",
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "seconds",
    300.0,
    "for everything; what does not fit is left out and named",
    lower_bound=10.0,
    flag_values=FLAGS,
)
flags.DEFINE_bool("json", False, "print JSON", flag_values=FLAGS)
flags.DEFINE_string(
    "output", None, "file that the JSON is written to", flag_values=FLAGS
)
cpu_flag.define(FLAGS)


def _usage(message: str) -> command.UserError:
    return command.UserError(command.ExitCode.USAGE, message)


def _request(values: flags.FlagValues) -> asking.Request:
    """Returns what is asked for.

    Raises:
      UserError: the flags do not go together, or one is wrong.
    """
    verb = values.measure
    if verb is None:
        raise _usage(
            "What is to be measured? Give it, as in 'efficientdet_aimmo.bench"
            f" train'. Expected one of {', '.join(_VERBS)}."
        )
    for name in ("precision", "xla"):
        if values[name].value is not None and verb != "train":
            raise _usage(
                f"--{name} has no effect on {verb}: it is of training steps."
            )
    for precision in values.precision or ():
        if precision not in _PRECISIONS:
            raise _usage(
                f"--precision={precision}, expected of"
                f" {', '.join(_PRECISIONS)}."
            )
    sizes = values.batch_sizes or ()
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise _usage(
            f"--batch_sizes={','.join(sizes)}, expected numbers from 1 on, as"
            " 1,2,4."
        )
    try:
        given = hparams_file.parse_hparams(values.hparams)
        for leaf in override.leaf_names(given) & _OWN_FLAGS.keys():
            raise _usage(
                f"--hparams has {leaf}, which is measured over several values."
                f" Give --{_OWN_FLAGS[leaf]}."
            )
        for name in values.model_name or asking.ON_CPU.model_names:
            override.override(presets.get_config(name), given)
    except config_lib.HParamError as error:
        raise _usage(str(error)) from error
    return asking.Request(
        verb=verb,
        model_names=values.model_name,
        precisions=values.precision,
        xla=values.xla,
        batch_sizes=sorted({int(size) for size in sizes}),
        hparams=given,
    )


def main(values: flags.FlagValues) -> None:
    """Measures, and prints."""
    begin = time.monotonic()
    request = _request(values)
    import tensorflow as tf

    from efficientdet_aimmo.benching import facts, report
    from efficientdet_aimmo.diagnosis import gate

    if request.verb != "input":  # which is prepared on the CPU
        gate.require_gpu(
            allow_cpu=values.allow_cpu, environment=command.environment()
        )
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    told = sys.stderr if values.json else sys.stdout

    def say(line: str) -> None:
        print(line, file=told, flush=True)

    found = _measure(request, has_gpu, begin + values.seconds, say)
    found.left_out.extend(asking.left_by_default(request, has_gpu))
    seconds = time.monotonic() - begin
    machine = facts.gather("/")
    say("\n" + report.text(machine, request.verb, found, seconds))
    content = report.to_json(machine, request.verb, found, seconds)
    if values.output:
        _write(values.output, content)
    if values.json:
        print(content, end="")
    if not any(row.steps_s for row in found.rows):
        raise command.UserError(
            command.ExitCode.DEVICE,
            "Nothing could be measured; see 'left out'. Give more --seconds,"
            " smaller --batch_sizes or a smaller --model_name.",
        )


def _measure(
    request: asking.Request,
    has_gpu: bool,
    end: float,
    say: Callable[[str], None],
) -> sweep.Found:
    """Measures what is asked for until a time of the clock.

    Raises:
      UserError: settings do not go together.
    """
    from efficientdet_aimmo.benching import made, made_records, measuring
    from efficientdet_aimmo.training import compiled

    cases = asking.cases_of(request, has_gpu)
    configs = [measuring.config_of(case, 1) for case in cases]
    said = [line for config in configs for line in compiled.check(config, 1)]
    for line in dict.fromkeys(said):
        say(line)
    with tempfile.TemporaryDirectory() as folder:
        records = f"{folder}/records"
        if request.verb == "input":
            made_records.write(
                records,
                made.photographs(16, _PHOTOGRAPH),
                measuring.NUM_RECORDS,
                _NUM_SHARDS,
            )
        return sweep.run(
            cases,
            end - time.monotonic(),
            time.monotonic,
            functools.partial(child.start, folder=records),
            say,
        )


def _write(path: str, content: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(content)
    except OSError as error:
        raise command.UserError(
            command.ExitCode.DISK,
            f"--output={path} cannot be written ({error.strerror}). Choose a"
            " folder that this user may write.",
        ) from error


def entry() -> int:
    """Runs the command as a console script."""
    return command.run(main, FLAGS, __doc__ or "", positional="measure")


if __name__ == "__main__":
    sys.exit(entry())
