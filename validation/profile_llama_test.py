"""What of profile_llama.py needs no PyTorch: reading a config, records, ids, arguments, statistics, and its exit status
where PyTorch is missing."""

import contextlib
import io
import json
import pathlib
import tempfile
import unittest
from unittest import mock

import profile_llama as script

MODELS = pathlib.Path(__file__).resolve().parent.parent / "configs" / "models"


class Config(unittest.TestCase):
    def read(self, text: str) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "config.json"
            path.write_text(text)
            return script.read_config(path)

    def test_the_models_that_the_repository_ships_are_read(self) -> None:
        for path in MODELS.glob("*.json"):
            self.assertGreater(script.read_config(path)["num_hidden_layers"], 0)

    def test_bad_files_are_named(self) -> None:
        for text in ("{", "[]", '{"model_type": "bert"}', '{"model_type": "llama", "hidden_size": 0}'):
            with self.assertRaises(script.InputError) as caught:
                self.read(text)
            self.assertIn("config.json", str(caught.exception))
        with self.assertRaises(script.InputError):
            script.read_config(pathlib.Path("/nonexistent/config.json"))


class Records(unittest.TestCase):
    step = script.Step("decode", 8, 2048, "graph")

    def test_ids_are_stable_and_tell_steps_apart(self) -> None:
        self.assertEqual(self.step.record_id("llama-3-8b", None), "torch-llama-3-8b-decode-b8-context2048-graph")
        arguments = script.parse_arguments(["--config", "c.json", "--device-label", "x", "--out", "o.json"])
        ids = [step.record_id("m", 2) for step in script.steps_of(arguments)]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertEqual(len(ids), 3 * 2 * 2 + 3 * 2)

    def test_parameters_are_those_of_the_contract(self) -> None:
        self.assertEqual(
            self.step.params("m", 1),
            {"model": "m", "batch": 8, "context": 2048, "dtype": "bf16", "layers": 1, "runtime": "graph"},
        )
        prefill = script.Step("prefill", 1, 512, "eager").params("m", None)
        self.assertEqual(prefill["tokens"], 512)
        self.assertEqual(prefill["runtime"], "stream")
        self.assertNotIn("layers", prefill)

    def test_a_record_has_its_median(self) -> None:
        record = script.make_record(self.step, "m", None, "h200-sxm", "PyTorch", [3.0, 1.0, 2.0])
        self.assertEqual((record["value"], record["status"], record["op"]), (2.0, "ok", "model_decode"))
        self.assertEqual(record["statistics"]["count"], 3)

    def test_without_samples_it_has_failed(self) -> None:
        record = script.make_record(self.step, "m", None, "h200-sxm", "PyTorch", [], "out of memory")
        self.assertIsNone(record["value"])
        self.assertEqual((record["status"], record["reason"]), ("failed", "out of memory"))

    def test_the_file_is_what_it_says(self) -> None:
        record = script.make_record(self.step, "m", None, "h200-sxm", "PyTorch", [1.0])
        parsed = json.loads(script.file_text({"name": "x"}, [record, record]))
        self.assertEqual(parsed["schema"], "memwall-reference/1")
        self.assertEqual(len(parsed["records"]), 2)


class Statistics(unittest.TestCase):
    def test_percentiles_interpolate(self) -> None:
        summary = script.summarise([4.0, 2.0])
        self.assertAlmostEqual(summary["median"], 3.0)
        self.assertAlmostEqual(summary["p10"], 2.2)
        self.assertAlmostEqual(summary["p90"], 3.8)


class Arguments(unittest.TestCase):
    def refused(self, *words: str) -> None:
        base = ["--config", "c.json", "--device-label", "x", "--out", "o.json"]
        with contextlib.redirect_stderr(io.StringIO()), self.assertRaises(SystemExit) as caught:
            script.parse_arguments([*base, *words])
        self.assertEqual(caught.exception.code, 2)

    def test_bad_ones_end_with_status_2(self) -> None:
        self.refused("--runtimes", "eager,magic")
        self.refused("--contexts", "1,x")
        self.refused("--contexts", "0")

    def test_without_pytorch_it_says_so_and_returns_2(self) -> None:
        errors = io.StringIO()
        config = str(next(MODELS.glob("*.json")))
        with mock.patch.dict("sys.modules", {"torch": None}), contextlib.redirect_stderr(errors):
            status = script.main(["--config", config, "--device-label", "x", "--out", "/nonexistent/o.json"])
        self.assertEqual(status, 2)
        self.assertIn("PyTorch is not installed", errors.getvalue())


if __name__ == "__main__":
    unittest.main()
