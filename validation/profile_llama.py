#!/usr/bin/env python3
"""Measures a random-weight Llama with PyTorch and transformers on a GPU.

Decode and prefill of the model that a Hugging Face config.json describes: eager, through a CUDA graph, and through
torch.compile where it works. Writes memwall-reference/1 records (model_decode, model_prefill), and with --profile a
Kineto trace with shapes for each. Needs torch and transformers on a machine with a CUDA device; without them it says so
and exits with status 2.
"""

import argparse
import dataclasses
import datetime
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

SCHEMA = "memwall-reference/1"
RUNTIMES = ("eager", "graph", "compile")
WARMUPS = 3


class InputError(Exception):
    """Bad input: what, found, allowed. Exit status 2."""


@dataclasses.dataclass(frozen=True)
class Step:
    """What is measured: one decode step, or one prefill."""

    phase: str  # decode or prefill
    batch: int
    tokens: int  # decode: keys in the cache, the new one among them; prefill: of the prompt
    runtime: str

    def record_id(self, model: str, layers: int | None) -> str:
        """Stable from run to run."""
        length = "context" if self.phase == "decode" else "tokens"
        part = f"-layers{layers}" if layers else ""
        return f"torch-{model}-{self.phase}-b{self.batch}-{length}{self.tokens}{part}-{self.runtime}"

    def params(self, model: str, layers: int | None) -> dict[str, Any]:
        """The contract's parameters of model_decode or model_prefill."""
        length = "context" if self.phase == "decode" else "tokens"
        params: dict[str, Any] = {"model": model, "batch": self.batch, length: self.tokens, "dtype": "bf16"}
        if layers:
            params["layers"] = layers
        params["runtime"] = "graph" if self.runtime == "graph" else "stream"
        return params


def read_config(path: pathlib.Path) -> dict[str, Any]:
    """A Llama's config.json. Raises InputError naming the file and the key."""
    try:
        config = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(config, dict) or config.get("model_type") not in ("llama", "mistral", "qwen2"):
        found = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise InputError(f"{path}: /model_type: found {found!r}; allowed: llama, mistral, qwen2")
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
        if not isinstance(config.get(key), int) or config[key] < 1:
            raise InputError(f"{path}: /{key}: found {config.get(key)!r}; allowed: a positive integer")
    return config


def summarise(samples: list[float]) -> dict[str, float]:
    """Median, minimum, 10th and 90th percentile (linear between samples) and count."""
    ordered = sorted(samples)

    def percentile(fraction: float) -> float:
        place = fraction * (len(ordered) - 1)
        low = math.floor(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (place - low)

    return {
        "median": statistics.median(ordered),
        "minimum": ordered[0],
        "p10": percentile(0.1),
        "p90": percentile(0.9),
        "count": len(ordered),
    }


def make_record(
    step: Step, model: str, layers: int | None, device: str, library: str, samples_us: list[float], reason: str = ""
) -> dict[str, Any]:
    """A record; without samples it is a failed one and carries the reason."""
    record: dict[str, Any] = {
        "id": step.record_id(model, layers),
        "kind": "model",
        "device": device,
        "op": f"model_{step.phase}",
        "params": step.params(model, layers),
        "schedule": None,
        "metric": "time_us",
        "value": None,
        "sm_clock_mhz": None,
        "library": f"{library}, {step.runtime}",
        "source": {"where": "validation/profile_llama.py", "locator": step.record_id(model, layers)},
        "cache": "cold",
        "status": "failed",
        "method": "CUDA events around one forward pass with random weights; host time included where it is longer",
    }
    if samples_us:
        summary = summarise(samples_us)
        record.update(value=summary["median"], status="ok", statistics=summary)
    else:
        record["reason"] = reason or "no samples"
    return record


def write_whole(path: pathlib.Path, text: str) -> None:
    """Never leaves half a file at `path`."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


def file_text(measured: dict[str, Any], records: list[dict[str, Any]]) -> str:
    """The file, a record a line."""
    lines = ",\n    ".join(json.dumps(record) for record in records)
    return f'{{ "schema": "{SCHEMA}",\n  "measured": {json.dumps(measured)},\n  "records": [\n    {lines}\n  ] }}\n'


def integers(text: str) -> list[int]:
    """A comma-separated list of positive integers."""
    try:
        values = [int(word) for word in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: integers such as 1,8,64") from error
    if any(value < 1 for value in values):
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: positive integers")
    return values


def parse_arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=pathlib.Path, required=True, help="a Hugging Face config.json")
    parser.add_argument("--device-label", required=True, help="label in the records, such as h200-sxm")
    parser.add_argument("--decode-batches", type=integers, default=[1, 8], help="sequences [1,8]")
    parser.add_argument("--contexts", type=integers, default=[512, 2048], help="keys that a decode step sees [512,2048]")
    parser.add_argument("--prefill-tokens", type=integers, default=[512, 2048], help="tokens of a prompt [512,2048]")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES), help="among eager, graph, compile [all]")
    parser.add_argument("--layers", type=int, help="only so many layers of the model")
    parser.add_argument("--repeats", type=int, default=20, help="timed passes [20]")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="records go here")
    parser.add_argument("--profile", type=pathlib.Path, help="folder for Kineto traces")
    arguments = parser.parse_args(words)
    arguments.runtimes = arguments.runtimes.split(",")
    for runtime in arguments.runtimes:
        if runtime not in RUNTIMES:
            parser.error(f"--runtimes: found {runtime!r}; allowed: {', '.join(RUNTIMES)}")
    return arguments


def steps_of(arguments: argparse.Namespace) -> list[Step]:
    """Everything that was asked for, decode first."""
    steps = []
    for runtime in arguments.runtimes:
        for batch in arguments.decode_batches:
            steps += [Step("decode", batch, context, runtime) for context in arguments.contexts]
    for runtime in arguments.runtimes:
        steps += [Step("prefill", 1, tokens, runtime) for tokens in arguments.prefill_tokens]
    return steps


def ask_nvidia_smi(fields: str) -> list[str]:
    """Answers to a query, empty where there is no nvidia-smi."""
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return [""] * len(fields.split(","))
    return [word.strip() for word in answer.splitlines()[0].split(",")]


class Runner:
    """The model on the GPU. Only made where torch, transformers and a CUDA device are there."""

    def __init__(self, config: dict[str, Any], layers: int | None, torch: Any, transformers: Any) -> None:
        self.torch, self.transformers = torch, transformers
        settings = dict(config)
        if layers:
            settings["num_hidden_layers"] = layers
        self.config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings)
        torch.manual_seed(0)
        with torch.device("cuda"):
            self.model = transformers.AutoModelForCausalLM.from_config(self.config, torch_dtype=torch.bfloat16).eval()

    def forward(self, step: Step) -> Callable[[], Any]:
        """One pass as a function of nothing, on inputs that stay where they are."""
        torch = self.torch
        new_tokens = 1 if step.phase == "decode" else step.tokens
        ids = torch.randint(self.config.vocab_size, (step.batch, new_tokens), device="cuda")
        cache = self.transformers.StaticCache(
            config=self.config, max_batch_size=step.batch, max_cache_len=step.tokens, device="cuda",
            dtype=torch.bfloat16)
        first = step.tokens - new_tokens
        positions = torch.arange(first, step.tokens, device="cuda")

        def run() -> Any:
            return self.model(input_ids=ids, past_key_values=cache, cache_position=positions, use_cache=True,
                              logits_to_keep=1)

        return run

    def prepared(self, step: Step) -> Callable[[], Any]:
        """The pass by its runtime, warmed up."""
        torch = self.torch
        run = self.forward(step)
        if step.runtime == "compile":
            self.model.forward = torch.compile(self.model.forward, fullgraph=False)
        for _ in range(WARMUPS):
            run()
        torch.cuda.synchronize()
        if step.runtime != "graph":
            return run
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
        return graph.replay

    def restore(self, original: Callable[..., Any]) -> None:
        """Undoes what torch.compile put in the model's place."""
        self.model.forward = original
        self.torch.compiler.reset()

    def measure(self, step: Step, repeats: int, profile: pathlib.Path | None, name: str) -> list[float]:
        """Microseconds of each timed pass."""
        torch = self.torch
        original = self.model.forward
        try:
            with torch.inference_mode():
                run = self.prepared(step)
                samples = []
                for _ in range(repeats):
                    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                    begin.record()
                    run()
                    end.record()
                    torch.cuda.synchronize()
                    samples.append(begin.elapsed_time(end) * 1e3)
                if profile is not None:
                    self.write_profile(run, profile / f"{name}.json")
                return samples
        finally:
            if step.runtime == "compile":
                self.restore(original)

    def write_profile(self, run: Callable[[], Any], path: pathlib.Path) -> None:
        profiler = self.torch.profiler
        activities = [profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.CUDA]
        with profiler.profile(activities=activities, record_shapes=True) as trace:
            run()
            self.torch.cuda.synchronize()
        trace.export_chrome_trace(str(path))


def load_torch() -> tuple[Any, Any]:
    """torch and transformers. Raises InputError when they or a CUDA device are missing."""
    try:
        import torch
    except ImportError as error:
        raise InputError("PyTorch is not installed; this script measures with it") from error
    try:
        import transformers
    except ImportError as error:
        raise InputError("transformers is not installed; the models come from it") from error
    if not torch.cuda.is_available():
        raise InputError("PyTorch sees no CUDA device")
    return torch, transformers


def describe(torch: Any, transformers: Any, label: str) -> dict[str, Any]:
    driver, limit, clock, temperature = ask_nvidia_smi("driver_version,power.limit,clocks.sm,temperature.gpu")
    return {
        "device": label,
        "name": torch.cuda.get_device_name(0),
        "driver": driver,
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "power_limit_w": limit,
        "sm_clock_at_start_mhz": clock,
        "temperature_at_start_c": temperature,
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def run(arguments: argparse.Namespace) -> int:
    config = read_config(arguments.config)
    torch, transformers = load_torch()
    model = arguments.config.stem
    library = f"PyTorch {torch.__version__}, transformers {transformers.__version__}"
    measured = describe(torch, transformers, arguments.device_label)
    if arguments.profile is not None:
        arguments.profile.mkdir(parents=True, exist_ok=True)
    runner = Runner(config, arguments.layers, torch, transformers)
    records: list[dict[str, Any]] = []
    for step in steps_of(arguments):
        name = step.record_id(model, arguments.layers)
        samples: list[float] = []
        reason = ""
        before = ask_nvidia_smi("clocks.sm")[0]
        try:
            samples = runner.measure(step, arguments.repeats, arguments.profile, name)
        except Exception as error:  # noqa: BLE001: whatever it was, it is this record's reason, and the run goes on
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
        record = make_record(step, model, arguments.layers, arguments.device_label, library, samples, reason)
        record["driver_clock_mhz"] = {"before": before, "after": ask_nvidia_smi("clocks.sm")[0]}
        records.append(record)
        write_whole(arguments.out, file_text(measured, records))
        print(f"{name}  {record['value'] or 'FAILED: ' + reason}", file=sys.stderr)
    return 0 if all(record["status"] == "ok" for record in records) else 1


def main(words: list[str]) -> int:
    try:
        return run(parse_arguments(words))
    except InputError as error:
        print(f"profile_llama: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
