#include "cli/run_options.h"

#include <fmt/core.h>

#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "cli/options.h"

namespace memwall::cli {

namespace {

constexpr const char* kVerb = "memwall run";

void add_workload_options(CLI::App& app, RunOptions& o) {
    app.add_option("--device", o.device, "device by name or path")->required();
    app.add_option("--op", o.op, "an operation: \"gemm m=1 n=4096 k=4096 dtype=bf16\"");
    app.add_option("--model", o.model, "model by name or path of a Hugging Face config.json");
    app.add_option("--trace", o.trace, "a trace file");
    app.add_option("--phase", o.phase, "model: decode or prefill");
    app.add_option("--batch", o.batch, "model: sequences [1]");
    app.add_option("--context", o.context, "decode: tokens in the KV cache [2048]");
    app.add_option("--tokens", o.tokens, "prefill: tokens of each sequence [2048]");
    app.add_option("--dtype", o.dtype, "model: of activations and arithmetic [bf16]");
    app.add_option("--weights-dtype", o.weights_dtype, "decode: of the weights in memory");
    app.add_option("--kv-dtype", o.kv_dtype, "decode: of the KV cache");
    app.add_option("--page", o.page, "decode: KV page in tokens; 0: contiguous");
    app.add_option("--layers", o.layers, "model: only its first layers");
    app.add_option("--runtime", o.runtime, "model: stream, graph, pdl or megakernel [graph]");
    app.add_option("--layers-simulated", o.layers_simulated,
                   "prefill: simulate so many layers, the last of them stands for the rest [2]");
    app.add_flag("--all-layers", o.all_layers, "prefill: simulate every layer");
}

void add_other_options(CLI::App& app, RunOptions& o) {
    app.add_option("--tile", o.tile, "MxNxK of every product");
    app.add_option("--stages", o.stages, "buffering depth of every product");
    app.add_option("--set", o.sets, "/json/pointer=value of the device description")->allow_extra_args(false);
    app.add_option(
        "--sm-clock", o.sm_clock,
        "SM clock in MHz (--set /clocks/sm_mhz); sustained: the highest, up to the description's, that keeps "
        "the board under its power limit for as long as one likes; burst: for the first tens of milliseconds, when it "
        "may draw more. Both are found by simulating more than once");
    app.add_option("--json", o.json, "write the result to a file, or - for standard output and nothing else there");
    app.add_option("--out", o.out, "folder for result.json, ops.csv and floorplan.svg");
    app.add_option("--timeline", o.timeline, "write a timeline for ui.perfetto.dev");
    app.add_option("--timeline-sms", o.timeline_sms, "SMs on the timeline [0,1,2]")->delimiter(',');
}

/// Refuses the options among `names` that were given.
void refuse(const CLI::App& app, const std::vector<std::string>& names, const std::string& allowed) {
    for (const std::string& name : names) {
        if (app.count(name) > 0)
            throw InputError(fmt::format("{} {}", kVerb, name), "an option without effect here", allowed);
    }
}

void check_source(const CLI::App& app, const RunOptions& o) {
    if (!o.trace.empty()) throw InputError("memwall run --trace: this version does not read trace files yet");
    const int sources = static_cast<int>(app.count("--op")) + static_cast<int>(app.count("--model"));
    if (sources != 1) {
        throw InputError(kVerb, sources == 0 ? "neither --op nor --model" : "both --op and --model",
                         "one of --op \"OP k=v ...\" and --model M --phase decode|prefill");
    }
    if (app.count("--op") > 0) {
        refuse(app,
               {"--phase", "--batch", "--context", "--tokens", "--dtype", "--weights-dtype", "--kv-dtype", "--page",
                "--layers", "--runtime", "--layers-simulated", "--all-layers"},
               "it with --model; an operation's parameters stand in --op \"OP k=v ...\"");
        return;
    }
    if (o.phase == "mixed") {
        throw InputError(
            "memwall run --phase mixed: this version does not have mixed batches yet; it has decode and prefill");
    }
    if (o.phase == "decode") {
        refuse(app, {"--tokens", "--layers-simulated", "--all-layers"}, "it with --phase prefill");
    } else if (o.phase == "prefill") {
        refuse(app, {"--context", "--weights-dtype", "--kv-dtype", "--page"}, "it with --phase decode");
    } else {
        throw InputError("memwall run --phase", o.phase.empty() ? "nothing" : fmt::format("\"{}\"", o.phase),
                         "decode, prefill");
    }
    if (o.all_layers && o.layers_simulated)
        throw InputError(kVerb, "both --all-layers and --layers-simulated", "one of them");
}

template <class Number>
void check_at_least(const char* name, Number value, Number lowest) {
    if (value < lowest)
        throw InputError(fmt::format("{} {}", kVerb, name), fmt::format("{}", value),
                         fmt::format("an integer from {}", lowest));
}

void check_numbers(const RunOptions& o) {
    check_at_least<std::int64_t>("--batch", o.batch, 1);
    check_at_least<std::int64_t>("--context", o.context, 1);
    check_at_least<std::int64_t>("--tokens", o.tokens, 1);
    check_at_least<std::int64_t>("--page", o.page, 0);
    if (o.layers) check_at_least<std::int64_t>("--layers", *o.layers, 1);
    // The first layer differs (L2 is cold), so a steady one is at least the second.
    if (o.layers_simulated) check_at_least<std::int64_t>("--layers-simulated", *o.layers_simulated, 2);
    if (o.stages) check_at_least("--stages", *o.stages, 1);
}

/// --sm-clock becomes an override of the description, or asks for a clock that the board's limits leave.
void read_clock(RunOptions& o) {
    if (!o.sm_clock) return;
    if (*o.sm_clock == "sustained") o.repetition = Repetition::forever();
    if (*o.sm_clock == "burst") o.repetition = Repetition{};
    if (o.repetition) return;
    char* end = nullptr;
    const double mhz = std::strtod(o.sm_clock->c_str(), &end);
    if (o.sm_clock->empty() || *end != '\0' || !std::isfinite(mhz) || mhz <= 0) {
        throw InputError("memwall run --sm-clock", fmt::format("\"{}\"", *o.sm_clock),
                         "a positive number of MHz, sustained or burst");
    }
    o.sets.push_back(fmt::format("/clocks/sm_mhz={}", mhz));
}

}  // namespace

std::optional<RunOptions> read_run_options(std::vector<std::string> arguments) {
    CLI::App app("Simulates a model's step or one operation on a device, and says where the time goes.", kVerb);
    RunOptions o;
    add_workload_options(app, o);
    add_other_options(app, o);
    if (parse(app, std::move(arguments))) return std::nullopt;
    check_source(app, o);
    check_numbers(o);
    if (o.timeline.empty()) refuse(app, {"--timeline-sms"}, "it with --timeline FILE");
    read_clock(o);
    return o;
}

workload::OpSpec op_of(const RunOptions& o) {
    if (!o.op.empty()) return workload::parse_op(o.op);
    const bool prefill = o.phase == "prefill";
    std::vector<std::pair<std::string, std::string>> params = {{"model", o.model}, {"batch", std::to_string(o.batch)}};
    params.emplace_back(prefill ? "tokens" : "context", std::to_string(prefill ? o.tokens : o.context));
    params.emplace_back("dtype", o.dtype);
    if (!o.weights_dtype.empty()) params.emplace_back("weights_dtype", o.weights_dtype);
    if (!o.kv_dtype.empty()) params.emplace_back("kv_dtype", o.kv_dtype);
    if (o.page > 0) params.emplace_back("page", std::to_string(o.page));
    if (o.layers) params.emplace_back("layers", std::to_string(*o.layers));
    params.emplace_back("runtime", o.runtime);
    return {prefill ? "model_prefill" : "model_decode", params};
}

workload::ScheduleWish wish_of(const RunOptions& o) {
    workload::ScheduleWish wish;
    if (!o.tile.empty()) wish.tile = workload::parse_tile(o.tile, "--tile");
    wish.stages = o.stages;
    return wish;
}

}  // namespace memwall::cli
