#include "cli/replay.h"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/json_reader.h"
#include "device/reader.h"
#include "workload/workload.h"

namespace memwall::cli {

namespace {

using validate::Figure;

/// Bytes behind a bandwidth: of a stream all that moved, again and again; of a kernel what it has to move.
double moved_bytes(const Simulated& s, const std::string& op) {
    if (!validate::is_stream(op) && op != "tma_read") return result::compulsory_bytes(s.run);
    return static_cast<double>(s.result.counters.sm_read_bytes + s.result.counters.sm_write_bytes);
}

/// Instructions of a wgmma chain on each SM.
double instructions(const Simulated& s, const workload::OpSpec& op) {
    int m = 0, n = 0, k = 0;
    if (std::sscanf(op.find("shape")->c_str(), "m%dn%dk%d", &m, &n, &k) != 3) return 0;
    return s.result.flops / (2.0 * m * n * k * s.run.sms);
}

/// Of a sequence of like kernels, from the end of the first counted one to that of the last: as many gaps as kernels.
double period_us(const Simulated& s) {
    const auto& first = s.seen.kernels[s.run.first_counted];
    const auto& last = s.seen.kernels.back();
    if (last.kernel == first.kernel) return s.result.time_us;
    return (last.end - first.end).us() / static_cast<double>(last.kernel - first.kernel);
}

double figure_of(const Simulated& s, const validate::Expressed& e) {
    const double us = s.result.time_us + e.added_us;
    const auto& chase = s.seen.chase;
    switch (e.figure) {
        case Figure::time_us:
            return us;
        case Figure::period_us:
            return period_us(s);
        case Figure::tflops:
            return s.result.flops / us * 1e-6;
        case Figure::gbps:
            return moved_bytes(s, e.op.op()) / us * 1e-3;
        case Figure::tokens_per_s:
            return s.run.tokens / us * 1e6;
        case Figure::chase_cycles:
            return chase.mean_cycles;
        case Figure::chase_ns:
            return chase.mean_cycles / s.run.sm_clock_mhz * 1e3;
        case Figure::chase_near_cycles:
            return chase.p10_cycles;
        case Figure::chase_far_cycles:
            return chase.p90_cycles;
        case Figure::cycles_each:
            return s.result.sm_cycles / instructions(s, e.op);
        case Figure::cycles:
            return us * s.run.sm_clock_mhz;
        case Figure::roofline_fraction:
            return std::max(s.result.roofline_compute_us, s.result.roofline_memory_us) / us;
        default:
            return static_cast<double>(s.result.counters.dram_read_bytes + s.result.counters.dram_write_bytes) / us *
                   1e-3 / s.run.hbm_peak_gbps;
    }
}

/// The record's figure if the run had taken what the roofline says; 0 where that is no time.
double roofline_of(const Simulated& s, const validate::Expressed& e, const validate::Record& record) {
    if (record.kind == "micro") return 0;
    const double us = std::max(s.result.roofline_compute_us, s.result.roofline_memory_us);
    switch (e.figure) {
        case Figure::time_us:
            return us;
        case Figure::tflops:
            return s.result.flops / us * 1e-6;
        case Figure::gbps:
            return moved_bytes(s, e.op.op()) / us * 1e-3;
        default:
            return 0;
    }
}

std::string schedule_of(const result::RunDescription& run) {
    const result::KernelInfo* main = result::main_kernel(run);
    if (main == nullptr || main->stages == 0) return "";
    const std::string split = main->stream_k ? "stream-k" : fmt::format("split {}", main->split);
    return fmt::format("{}x{}x{}, {} stages, {}, {} CTAs", main->tile[0], main->tile[1], main->tile[2], main->stages,
                       split, main->ctas);
}

/// What binds the operation that takes longest.
std::string bound_of(const result::RunResult& result) {
    const result::OpResult* longest = nullptr;
    for (const result::OpResult& op : result.ops) {
        if (longest == nullptr || op.time_us > longest->time_us) longest = &op;
    }
    return longest == nullptr ? "" : longest->bound;
}

}  // namespace

Replay::Replay(ConfigDirs configs, const std::vector<std::string>& sets, double most_tflop,
               const std::map<std::string, std::string>& stand_ins)
    : configs_(std::move(configs)), most_tflop_(most_tflop) {
    for (const std::string& name : device::list_devices(configs_.devices))
        devices_.emplace(name, device::load_device(name, configs_.devices, sets));
    for (const auto& [product, name] : stand_ins)
        stand_ins_.emplace(product, device::load_device(name, configs_.devices, sets));
}

validate::Simulation Replay::run(const validate::Record& record, device::Device device) const {
    const validate::Expressed e = validate::express(record, device);
    if (record.sm_clock_mhz) device.clocks.sm_mhz = *record.sm_clock_mhz;
    const Work work = work_of(e.op, e.wish, device, configs_, kPrefillLayers, e.warm);
    const trace::Trace& trace = work.trace;
    double flops = 0;
    for (std::size_t k = trace.warmup_kernels; k < trace.kernels.size(); ++k) flops += trace.kernels[k].flops;
    if (flops > 1e12 * most_tflop_) throw InputError(fmt::format("more than {} TFLOP{}", most_tflop_, kTooLong));
    const bool measured = record.sm_clock_mhz && !record.clock_is_ceiling;
    if (e.at_full_clock && !measured) device.clocks.sm_mhz = highest_mhz(e.op, work, device);
    const bool clock_known = e.at_full_clock || measured;
    const Simulated s = clock_known ? cli::simulate(trace, describe(e.op, work, device), device, {})
                                    : simulate_limited(e.op, work, device, record.repetition);

    validate::Simulation done;
    done.device = device.name;
    done.op = workload::text_of(e.op);
    done.note = e.note;
    if (const result::Layers& layers = work.layers; layers.simulated < layers.all)
        done.note += fmt::format("{}{} of {} layers simulated, the last for the others", e.note.empty() ? "" : "; ",
                                 layers.simulated, layers.all);
    done.simulated = figure_of(s, e);
    done.roofline = roofline_of(s, e, record);
    done.compute_bound = s.result.roofline_compute_us > s.result.roofline_memory_us;
    done.sm_clock_mhz = device.clocks.sm_mhz;
    done.board_w = energy_of(s, device).total() / counted_us(s) * 1e6;
    done.bound = bound_of(s.result);
    done.schedule = schedule_of(s.run);
    done.time_us = s.result.time_us;
    done.size = result::compulsory_bytes(s.run);
    for (const result::Loss& loss : s.result.waterfall) done.waterfall.emplace_back(loss.cause, loss.us);
    if (e.added_us > 0) done.waterfall.emplace_back("launch in the measured value", e.added_us);
    done.wall_s = s.run.wall_s;
    return done;
}

validate::Simulation Replay::simulate(const validate::Record& record) const {
    if (const auto other = stand_ins_.find(record.device); other != stand_ins_.end())
        return simulate(record, other->second);
    const auto device = devices_.find(validate::device_for(record.device));
    if (device != devices_.end()) return simulate(record, device->second);
    validate::Simulation skipped;
    skipped.skipped =
        record.failure.empty() ? fmt::format("no device description for {}", record.device) : record.failure;
    return skipped;
}

validate::Simulation Replay::simulate(const validate::Record& record, const device::Device& device) const {
    validate::Simulation skipped;
    try {
        return run(record, device);
    } catch (const ModelError& error) {
        skipped.skipped = kBroken + std::string(error.what());
    } catch (const Error& error) {
        skipped.skipped = error.what();
    }
    return skipped;
}

nlohmann::json to_json(const validate::Simulation& s) {
    if (!s.skipped.empty()) return {{"skipped", s.skipped}};
    return {{"simulated", s.simulated},
            {"roofline", s.roofline},
            {"compute_bound", s.compute_bound},
            {"sm_clock_mhz", s.sm_clock_mhz},
            {"board_w", s.board_w},
            {"device", s.device},
            {"op", s.op},
            {"bound", s.bound},
            {"note", s.note},
            {"schedule", s.schedule},
            {"time_us", s.time_us},
            {"size", s.size},
            {"waterfall", s.waterfall},
            {"wall_s", s.wall_s}};
}

validate::Simulation simulation_of(const nlohmann::json& file, const std::string& name) {
    const JsonReader json(file, name, JsonReader::Mode::lenient);
    validate::Simulation s;
    s.skipped = json.string_or("skipped", "");
    if (!s.skipped.empty()) return s;
    const auto number = [&](const char* key) { return json.number(key, 0, 1e30); };
    s.simulated = number("simulated");
    s.roofline = number("roofline");
    s.compute_bound = json.boolean_or("compute_bound", false);
    s.sm_clock_mhz = number("sm_clock_mhz");
    s.board_w = number("board_w");
    s.device = json.string("device");
    s.op = json.string("op");
    s.bound = json.string("bound");
    s.note = json.string("note");
    s.schedule = json.string("schedule");
    s.time_us = number("time_us");
    s.size = number("size");
    for (const JsonReader& loss : json.at("waterfall").elements()) {
        const auto pair = loss.elements();
        if (pair.size() != 2) loss.fail("a cause and its us");
        s.waterfall.emplace_back(pair[0].as_string(), pair[1].as_number(-1e12, 1e12));
    }
    s.wall_s = number("wall_s");
    return s;
}

}  // namespace memwall::cli
