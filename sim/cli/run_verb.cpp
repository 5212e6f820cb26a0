// memwall run: one simulation, its table on the terminal, its files where asked.

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>

#include "base/error.h"
#include "base/json_reader.h"
#include "cli/run_options.h"
#include "cli/simulation.h"
#include "cli/verbs.h"
#include "device/floorplan.h"
#include "device/reader.h"
#include "result/report.h"
#include "result/timeline.h"
#include "validate/bands.h"
#include "workload/workload.h"

namespace memwall::cli {

namespace fs = std::filesystem;

namespace {

chip::RunOptions chip_options(const RunOptions& o, std::size_t kernels) {
    chip::RunOptions options;
    options.timeline = !o.timeline.empty();
    options.timeline_sms = o.timeline_sms;
    if (isatty(STDERR_FILENO) != 0) {
        options.progress = [kernels](std::size_t done, Ps now) {
            fmt::print(stderr, "\r{} of {} kernels, {:.1f} us simulated ", done, kernels, now.us());
        };
    }
    return options;
}

/// A device that cannot hold the work says nothing of how fast it would be, but a description may be half of a what-if.
void warn_of_memory(const trace::Trace& trace, const device::Device& device) {
    const auto bytes = static_cast<double>(trace.footprint_bytes());
    if (bytes <= device.hbm.capacity_bytes()) return;
    fmt::print(stderr,
               "memwall: warning: the tensors simulated take {:.3g} GB, the memory of {} holds {:.3g} (/hbm/stacks, "
               "/hbm/rows)\n",
               bytes * 1e-9, device.name, device.hbm.capacity_bytes() * 1e-9);
}

/// Says before a long simulation, not after it, that its result could not be kept.
void check_outputs(const RunOptions& o) {
    std::error_code failed;
    if (!o.out.empty()) {
        fs::create_directories(o.out, failed);
        if (failed) throw HostError(fmt::format("{}: cannot make this folder: {}", o.out, failed.message()));
    }
    for (const std::string& file :
         {o.out.empty() ? "" : o.out + "/result.json", o.json == "-" ? "" : o.json, o.timeline}) {
        if (file.empty()) continue;
        if (fs::is_directory(file)) throw HostError(fmt::format("{}: cannot be written: it is a folder", file));
        const fs::path folder = fs::absolute(file).parent_path();
        if (access(folder.c_str(), W_OK | X_OK) != 0)
            throw HostError(fmt::format("{}: cannot be written: {}: {}", file, folder.string(), std::strerror(errno)));
    }
}

/// The floorplan coloured by traffic: each part's bytes against the busiest of its kind.
std::string heat_drawing(const device::Device& device, const Observations& seen) {
    const device::Floorplan floorplan(device);
    std::vector<double> heat(floorplan.nodes().size(), 0.0);
    std::map<device::NodeKind, double> most;
    for (const PartTraffic& part : seen.parts) {
        const int node = floorplan.find(part.name);
        if (node < 0) continue;
        const auto index = static_cast<std::size_t>(node);
        heat[index] = static_cast<double>(part.bytes_in + part.bytes_out);
        double& busiest = most[floorplan.nodes()[index].kind];
        busiest = std::max(busiest, heat[index]);
    }
    for (std::size_t node = 0; node < heat.size(); ++node) {
        const double busiest = most[floorplan.nodes()[node].kind];
        heat[node] = busiest > 0 ? heat[node] / busiest : 0;
    }
    return floorplan.to_svg(heat);
}

void write_files(const RunOptions& o, const device::Device& device, const Simulated& s) {
    const std::string json = result::to_json(s.run, s.result, s.seen);
    if (!o.out.empty()) {
        atomic_write(fs::path(o.out) / "result.json", json);
        atomic_write(fs::path(o.out) / "ops.csv", result::to_csv(s.result));
        atomic_write(fs::path(o.out) / "floorplan.svg", heat_drawing(device, s.seen));
    }
    if (!o.timeline.empty()) result::write_timeline(o.timeline, s.run, s.seen);
    if (!o.json.empty() && o.json != "-") atomic_write(o.json, json);
    if (o.json == "-") {
        if (std::fwrite(json.data(), 1, json.size(), stdout) != json.size() || std::fflush(stdout) != 0)
            throw HostError("standard output: cannot write the result");
    }
}

/// What the correlation that ships with the devices left for later runs; nothing where there is none.
std::optional<std::vector<validate::BandRecord>> band_records(const ConfigDirs& configs) {
    for (const std::string& root : configs.roots) {
        const fs::path bands = fs::path(root) / "bands.json";
        if (fs::exists(bands)) return validate::read_bands(bands.string());
    }
    return std::nullopt;
}

/// The operations of a model's run, and the time by which each moved on its end; a kernel that is only a part of one,
/// such as a fold, counts with it.
std::vector<validate::TimedOp> timed_operations(const result::RunResult& run) {
    std::vector<validate::TimedOp> operations;
    double reached_us = run.ops.empty() ? 0 : run.ops.front().start_us - run.ops.front().gap_us;
    for (const result::OpResult& op : run.ops) {
        if (!op.params.empty()) operations.push_back({{op.op, op.params}, 0});
        // A dependent launch waits beside the kernel before it: only what it adds is its own.
        const double end_us = op.start_us + op.time_us;
        if (!operations.empty()) operations.back().us += std::max(0.0, end_us - reached_us) * op.times;
        reached_us = std::max(reached_us, end_us);
    }
    return operations;
}

/// The measurements nearest to the run, and for a model those nearest to its operations.
void add_neighbours(const workload::OpSpec& op, const std::vector<validate::BandRecord>& records, Simulated& s) {
    s.run.correlated = true;
    s.run.neighbours = validate::neighbours_of(records, op, s.run.device);
    if (s.run.layers.all > 0) s.run.by_operation = validate::compose(records, timed_operations(s.result), s.run.device);
}

/// "gemm 84 %, attention_decode 9 %": what of the run's time has measurements near it.
std::string covered_text(const result::ComposedBand& band) {
    std::vector<std::pair<std::string, double>> shares;
    for (const result::OperationBand& one : band.operations) {
        const std::string name = one.op.substr(0, one.op.find(' '));
        const auto same = std::find_if(shares.begin(), shares.end(), [&](const auto& s) { return s.first == name; });
        if (same == shares.end()) {
            shares.emplace_back(name, one.share);
        } else {
            same->second += one.share;
        }
    }
    std::string text;
    for (const auto& [name, share] : shares)
        text += fmt::format("{}{} {:.0f} %", text.empty() ? "" : ", ", name, 100 * share);
    return text;
}

void print_power(const result::RunDescription& run) {
    const result::Power& p = run.power;
    fmt::print("board power: {:.0f} W of {:.0f} W on average and {:.0f} W at most", p.board_w, p.limit_w,
               p.peak_limit_w);
    if (run.clock_ceiling_mhz > 0) {
        const bool held = run.sm_clock_mhz < run.clock_ceiling_mhz;
        fmt::print(" at {:.0f} MHz, {}", run.sm_clock_mhz,
                   held ? "where the limit holds the SM clock" : "the highest of such work");
    } else if (p.board_w > p.limit_w) {
        fmt::print("; a board would lower the SM clock to about {:.0f} MHz (--sm-clock sustained)", p.sustained_mhz);
        if (p.burst_mhz < run.sm_clock_mhz)
            fmt::print(", in its first tens of ms to {:.0f} MHz (--sm-clock burst)", p.burst_mhz);
    } else if (p.burst_mhz < run.sm_clock_mhz) {
        fmt::print("; busy tensor cores would hold the SM clock to {:.0f} MHz (--sm-clock burst)", p.burst_mhz);
    }
    fmt::print("\n");
}

void print_bands(const RunOptions& o, const result::RunDescription& run) {
    if (!run.correlated) return;
    // Records were simulated at the clock that the board's limits left them, and most of them are short runs.
    constexpr double kSame = 0.02;  // the search for a clock stops a step short of it
    const bool other = std::abs(run.power.burst_mhz / run.sm_clock_mhz - 1) > kSame;
    const std::string of = fmt::format("{}{}", o.sets.empty() ? "" : ", of the device as it is described",
                                       other ? ", at the clock of a short run" : "");
    if (const std::size_t n = run.neighbours.size(); n > 1) {
        const auto [low, high] = result::range_of(run.neighbours);
        fmt::print("error band: {:+.1f} to {:+.1f} % of the time, by the {} nearest measured records ({}, ...){}\n",
                   low, high, n, run.neighbours.front().id, of);
    } else if (n == 1) {
        fmt::print("error band: {:+.1f} % of the time, by the only measured record that is near ({}){}\n",
                   run.neighbours.front().time_error_pct, run.neighbours.front().id, of);
    } else if (run.by_operation.covered <= 0) {
        fmt::print("error band: unknown, no measured record is near this\n");
    }
    if (const result::ComposedBand& band = run.by_operation; band.covered > 0)
        fmt::print(
            "error band by operation: {:+.1f} to {:+.1f} % of the {:.0f} % of the time that have measured records "
            "near them ({}){}\n",
            band.low_pct, band.high_pct, 100 * band.covered, covered_text(band), of);
}

void print_summary(const RunOptions& o, const Simulated& s) {
    fmt::print("{}", result::to_table(s.run, s.result));
    if (s.seen.chase.accesses > 0) {
        const double cycles = s.seen.chase.mean_cycles;
        fmt::print("latency: {:.1f} cycles = {:.1f} ns a load ({} loads)\n", cycles, cycles / s.run.sm_clock_mhz * 1e3,
                   s.seen.chase.accesses);
    }
    print_power(s.run);
    print_bands(o, s.run);
    fmt::print("simulated {} lines in {:.2f} s on the host: {:.2f} million lines a second\n", s.seen.lines,
               s.run.wall_s, static_cast<double>(s.seen.lines) / s.run.wall_s * 1e-6);
    if (!o.out.empty()) fmt::print("written: {0}/result.json, {0}/ops.csv, {0}/floorplan.svg\n", o.out);
    if (!o.timeline.empty()) fmt::print("written: {} (open it in https://ui.perfetto.dev)\n", o.timeline);
}

}  // namespace

int run_verb(std::vector<std::string> arguments) {
    const auto options = read_run_options(std::move(arguments));
    if (!options) return 0;
    const RunOptions& o = *options;
    const ConfigDirs configs = find_configs();
    device::Device device = device::load_device(o.device, configs.devices, o.sets);
    const workload::OpSpec op = op_of(o);
    const workload::ScheduleWish wish = wish_of(o);
    const std::int64_t most_layers =
        o.all_layers ? std::numeric_limits<std::int64_t>::max() : o.layers_simulated.value_or(kPrefillLayers);
    Work work = work_of(op, wish, device, configs, most_layers);
    const auto records = band_records(configs);
    check_outputs(o);
    warn_of_memory(work.trace, device);
    const chip::RunOptions watch = chip_options(o, work.trace.kernels.size());
    auto run = describe(op, work, device);
    Simulated s = o.repetition ? simulate_limited(op, work, device, *o.repetition, watch)
                               : simulate(std::move(work.trace), std::move(run), device, watch);
    if (records) add_neighbours(op, *records, s);
    write_files(o, device, s);
    if (o.json != "-") print_summary(o, s);
    return 0;
}

}  // namespace memwall::cli
