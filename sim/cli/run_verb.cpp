// memwall run: one simulation, its table on the terminal, its files where asked.

#include <fmt/core.h>
#include <sys/resource.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "base/json_reader.h"
#include "chip/chip.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "device/reader.h"
#include "result/report.h"
#include "workload/workload.h"

namespace memwall::cli {

namespace fs = std::filesystem;

namespace {

/// Prefill simulates these many layers; the last of them is steady and stands for the rest.
constexpr std::int64_t kPrefillLayers = 2;

struct RunOptions {
    std::string device, model, phase, op, trace, tile, json, out, timeline, dtype = "bf16", weights_dtype, kv_dtype, runtime;
    std::vector<std::string> sets;
    std::vector<int> timeline_sms;
    int stages = 0;
    std::int64_t batch = 1, context = 2048, tokens = 2048, layers = 0, page = 0;
    double sm_clock = 0;
    bool all_layers = false;
};

void add_options(CLI::App& app, RunOptions& o) {
    app.add_option("--device", o.device, "device by name or path")->required();
    app.add_option("--model", o.model, "model by name or path of a Hugging Face config.json");
    app.add_option("--phase", o.phase, "decode or prefill");
    app.add_option("--op", o.op, "an operation: \"gemm m=1 n=4096 k=4096 dtype=bf16\"");
    app.add_option("--trace", o.trace, "a trace file");
    app.add_option("--batch", o.batch, "sequences");
    app.add_option("--context", o.context, "decode: tokens in the KV cache");
    app.add_option("--tokens", o.tokens, "prefill: tokens of each sequence");
    app.add_option("--dtype", o.dtype, "of activations and arithmetic");
    app.add_option("--weights-dtype", o.weights_dtype, "of the weights in memory");
    app.add_option("--kv-dtype", o.kv_dtype, "of the KV cache");
    app.add_option("--layers", o.layers, "only the first layers of the model");
    app.add_option("--page", o.page, "KV page in tokens; 0: contiguous");
    app.add_option("--runtime", o.runtime, "stream, graph, pdl or megakernel");
    app.add_flag("--all-layers", o.all_layers, "prefill: simulate every layer instead of extrapolating identical ones");
    app.add_option("--tile", o.tile, "MxNxK of every product");
    app.add_option("--stages", o.stages, "buffering depth of every product");
    app.add_option("--set", o.sets, "/json/pointer=value of the device description")->allow_extra_args(false);
    app.add_option("--sm-clock", o.sm_clock, "SM clock in MHz: --set /clocks/sm_mhz");
    app.add_option("--json", o.json, "write the result to a file, or - for standard output and nothing else there");
    app.add_option("--out", o.out, "folder for result.json and ops.csv");
    app.add_option("--timeline", o.timeline, "write a timeline for ui.perfetto.dev");
    app.add_option("--timeline-sms", o.timeline_sms, "SMs on the timeline")->delimiter(',');
}

workload::OpSpec op_of(const RunOptions& o) {
    if (!o.trace.empty()) throw InputError("memwall run --trace: this version does not read trace files yet");
    if (o.op.empty() == o.model.empty()) throw InputError("memwall run", o.op.empty() ? "neither --op nor --model" : "both --op and --model", "one of --op \"OP k=v ...\" and --model M --phase decode|prefill");
    if (!o.op.empty()) return workload::parse_op(o.op);
    if (o.phase == "mixed") throw InputError("memwall run --phase mixed: this version does not have mixed batches yet; it has decode and prefill");
    if (o.phase != "decode" && o.phase != "prefill") throw InputError("memwall run --phase", o.phase.empty() ? "nothing" : fmt::format("\"{}\"", o.phase), "decode, prefill");
    const bool prefill = o.phase == "prefill";
    std::vector<std::pair<std::string, std::string>> params = {{"model", o.model}, {"batch", std::to_string(o.batch)}};
    params.emplace_back(prefill ? "tokens" : "context", std::to_string(prefill ? o.tokens : o.context));
    params.emplace_back("dtype", o.dtype);
    if (!prefill && !o.weights_dtype.empty()) params.emplace_back("weights_dtype", o.weights_dtype);
    if (!prefill && !o.kv_dtype.empty()) params.emplace_back("kv_dtype", o.kv_dtype);
    if (!prefill && o.page > 0) params.emplace_back("page", std::to_string(o.page));
    if (o.layers > 0) params.emplace_back("layers", std::to_string(o.layers));
    params.emplace_back("runtime", o.runtime.empty() ? "graph" : o.runtime);
    return {prefill ? "model_prefill" : "model_decode", params};
}

result::KernelInfo kernel_info(const trace::Kernel& k, const device::Device& d) {
    result::KernelInfo info;
    info.name = k.name;
    info.op = k.op;
    info.flops = k.flops;
    const double rate = !k.tensor_cores ? 2 * d.sm.fp32_ops_per_cycle
                        : trace::bits_of(k.math_dtype) <= 8 ? d.tensor.flops_per_cycle_fp8
                        : trace::bits_of(k.math_dtype) == 16 ? d.tensor.flops_per_cycle_16bit
                                                              : d.tensor.flops_per_cycle_tf32;
    info.peak_flops_per_us = rate * d.sms() * d.clocks.sm_mhz;
    info.tensor_cores = k.tensor_cores;
    info.compulsory_read_bytes = k.compulsory_read_bytes;
    info.compulsory_write_bytes = k.compulsory_write_bytes;
    info.tile = k.tile;
    info.stages = k.stages;
    info.split = k.split;
    info.ctas = k.ctas;
    return info;
}

result::RunDescription describe(const workload::OpSpec& op, const trace::Trace& trace, const device::Device& d) {
    result::RunDescription run;
    run.device = d.name;
    run.version = MEMWALL_VERSION;
    run.workload.emplace_back("op", op.op());
    for (const auto& param : op.params()) run.workload.push_back(param);
    for (const auto& kernel : trace.kernels) run.kernels.push_back(kernel_info(kernel, d));
    run.first_counted = trace.warmup_kernels;
    run.sm_clock_mhz = d.clocks.sm_mhz;
    run.sms = d.sms();
    run.pseudo_channels = d.hbm.pseudo_channels();
    run.hbm_peak_gbps = d.hbm.peak_gbps();
    run.smem_bytes_per_cycle = d.sm.smem_bytes_per_cycle;
    run.vector_lanes = d.sm.fp32_ops_per_cycle;
    run.l2_peak_gbps = d.floorplan.gpc_crossbar.bytes_per_cycle_back * d.gpcs() * d.clocks.sm_mhz * 1e-3;
    if (op.op() == "model_decode") run.tokens = static_cast<double>(op.number("batch"));
    if (op.op() == "model_prefill") run.tokens = static_cast<double>(op.number("batch") * op.number("tokens"));
    return run;
}

/// Prefill: the first layers as they are, the last of them for all that follow.
void extrapolate_layers(const workload::Situation& s, const workload::Model& model, bool all, trace::Trace& trace, result::RunDescription& run, const device::Device& d) {
    const std::int64_t layers = s.layers > 0 ? std::min(s.layers, model.layers) : model.layers;
    run.layers = layers;
    run.layers_simulated = layers;
    if (!s.prefill || all || layers <= kPrefillLayers) return;
    workload::Situation fewer = s;
    fewer.layers = kPrefillLayers;
    trace = workload::model_trace(model, fewer, d);
    run.kernels.clear();
    for (const auto& kernel : trace.kernels) run.kernels.push_back(kernel_info(kernel, d));
    const std::string steady = fmt::format("layers.{}.", kPrefillLayers - 1);
    const auto of_steady = [&](const result::KernelInfo& k) { return k.name.rfind(steady, 0) == 0; };
    run.steady_begin = static_cast<std::size_t>(std::find_if(run.kernels.begin(), run.kernels.end(), of_steady) - run.kernels.begin());
    run.steady_end = static_cast<std::size_t>(std::find_if_not(run.kernels.begin() + static_cast<std::ptrdiff_t>(run.steady_begin), run.kernels.end(), of_steady) - run.kernels.begin());
    run.steady_times = static_cast<double>(layers - kPrefillLayers + 1);
    run.layers_simulated = kPrefillLayers;
}

chip::RunOptions chip_options(const RunOptions& o, std::size_t kernels) {
    chip::RunOptions options;
    options.timeline = !o.timeline.empty();
    options.timeline_sms = o.timeline_sms;
    if (isatty(STDERR_FILENO) != 0) {
        options.progress = [kernels](std::size_t done, Ps now) { fmt::print(stderr, "\r{} of {} kernels, {:.1f} us simulated ", done, kernels, now.us()); };
    }
    return options;
}

/// Simulates and times it on the host.
Simulated simulate(const workload::OpSpec& op, trace::Trace trace, result::RunDescription run, const device::Device& d, const chip::RunOptions& options) {
    const auto began = std::chrono::steady_clock::now();
    Simulated s{std::move(trace), {}, std::move(run), {}};
    s.seen = chip::simulate(d, s.trace, options);
    if (options.progress) fmt::print(stderr, "\r{:60}\r", "");
    s.run.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    s.run.max_rss_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
    s.result = result::analyse(s.run, s.seen);
    (void)op;
    return s;
}

void write_files(const RunOptions& o, const Simulated& s) {
    const std::string json = result::to_json(s.run, s.result, s.seen);
    if (!o.out.empty()) {
        std::error_code failed;
        fs::create_directories(o.out, failed);
        if (failed) throw HostError(fmt::format("{}: cannot make this folder: {}", o.out, failed.message()));
        atomic_write(fs::path(o.out) / "result.json", json);
        atomic_write(fs::path(o.out) / "ops.csv", result::to_csv(s.result));
    }
    if (!o.timeline.empty()) atomic_write(o.timeline, result::to_timeline(s.run, s.seen));
    if (!o.json.empty() && o.json != "-") atomic_write(o.json, json);
    if (o.json == "-") {
        if (std::fwrite(json.data(), 1, json.size(), stdout) != json.size() || std::fflush(stdout) != 0) throw HostError("standard output: cannot write the result");
    }
}

}  // namespace

Simulated simulate_op(const workload::OpSpec& op, const workload::ScheduleWish& wish, const device::Device& device, const ConfigDirs& configs) {
    trace::Trace trace = workload::build_trace(op, wish, device, configs.roots);
    auto run = describe(op, trace, device);
    return simulate(op, std::move(trace), std::move(run), device, {});
}

int run_verb(std::vector<std::string> arguments) {
    CLI::App app("Simulates a model's step or one operation on a device, and says where the time goes.", "memwall run");
    RunOptions o;
    add_options(app, o);
    if (const auto status = parse(app, std::move(arguments))) return *status;
    const ConfigDirs configs = find_configs();
    if (o.sm_clock > 0) o.sets.push_back(fmt::format("/clocks/sm_mhz={}", o.sm_clock));
    const device::Device device = device::load_device(o.device, configs.devices, o.sets);
    const workload::OpSpec op = op_of(o);
    workload::ScheduleWish wish;
    if (!o.tile.empty()) wish.tile = workload::parse_tile(o.tile, "--tile");
    if (o.stages != 0) wish.stages = o.stages;
    trace::Trace trace = workload::build_trace(op, wish, device, configs.roots);
    auto run = describe(op, trace, device);
    if (op.op() == "model_decode" || op.op() == "model_prefill") {
        extrapolate_layers(workload::situation_of(op, wish), workload::load_model(*op.find("model"), configs.roots), o.all_layers, trace, run, device);
    }
    const auto options = chip_options(o, trace.kernels.size());
    const Simulated s = simulate(op, std::move(trace), std::move(run), device, options);
    write_files(o, s);
    if (o.json != "-") {
        fmt::print("{}", result::to_table(s.run, s.result));
        if (s.seen.chase.accesses > 0) fmt::print("latency: {:.1f} cycles = {:.1f} ns a load ({} loads)\n", s.seen.chase.mean_cycles, s.seen.chase.mean_cycles / device.clocks.sm_mhz * 1e3, s.seen.chase.accesses);
        fmt::print("simulated {} lines in {:.2f} s on the host: {:.2f} million lines a second\n", s.seen.lines, s.run.wall_s, static_cast<double>(s.seen.lines) / s.run.wall_s * 1e-6);
        if (!o.out.empty()) fmt::print("written: {}/result.json, {}/ops.csv\n", o.out, o.out);
    }
    return 0;
}

}  // namespace memwall::cli
