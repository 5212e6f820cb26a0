#include "cli/simulation.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/error.h"
#include "cli/verbs.h"
#include "result/report.h"
#include "workload/workload.h"

namespace memwall::cli {

namespace {

result::KernelInfo kernel_info(const trace::Kernel& k, const device::Device& d) {
    result::KernelInfo info;
    info.name = k.name;
    info.op = k.op;
    info.params = k.params;
    info.flops = k.flops;
    const double rate = !k.tensor_cores                      ? 2 * d.sm.fp32_ops_per_cycle
                        : trace::bits_of(k.math_dtype) <= 8  ? d.tensor.flops_per_cycle_fp8
                        : trace::bits_of(k.math_dtype) == 16 ? d.tensor.flops_per_cycle_16bit
                                                             : d.tensor.flops_per_cycle_tf32;
    info.peak_flops_per_us = rate * d.sms() * d.clocks.sm_mhz;
    info.tensor_cores = k.tensor_cores;
    info.compulsory_read_bytes = k.compulsory_read_bytes;
    info.compulsory_write_bytes = k.compulsory_write_bytes;
    info.tile = k.tile;
    info.stages = k.stages;
    info.split = k.split;
    info.stream_k = k.work.stream_steps > 0;
    info.ctas = k.ctas;
    return info;
}

}  // namespace

result::RunDescription describe(const workload::OpSpec& op, const Work& work, const device::Device& d) {
    const trace::Trace& trace = work.trace;
    result::RunDescription run;
    run.layers = work.layers;
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
    run.vector_lanes = d.sm.fp32_ops_per_cycle;
    run.l2_slices = d.l2.slices;
    run.l2_peak_gbps = d.floorplan.crossbar_slice.bytes_per_cycle_back * d.l2.slices * d.clocks.l2_mhz * 1e-3;
    // Both directions, without the headers of its lines.
    run.link_peak_gbps = 2 * d.floorplan.partition_link_bytes_per_cycle_total * d.clocks.l2_mhz * 1e-3 *
                         d.l2.line_bytes / (d.l2.line_bytes + d.crossbar.request_bytes);
    run.crossbar_peak_gbps = d.floorplan.gpc_crossbar.bytes_per_cycle_back * d.gpcs() * d.clocks.sm_mhz * 1e-3;
    if (op.op() == "model_decode") run.tokens = static_cast<double>(op.number("batch"));
    if (op.op() == "model_prefill") run.tokens = static_cast<double>(op.number("batch") * op.number("tokens"));
    return run;
}

namespace {

/// What the work is measured in is a loop of launches, or a step of many: it begins with the cache as such a loop
/// leaves it.
double dirty_share_of(const trace::Trace& trace) {
    double read = 0, written = 0;
    for (std::size_t k = trace.warmup_kernels; k < trace.kernels.size(); ++k) {
        read += static_cast<double>(trace.kernels[k].compulsory_read_bytes);
        written += static_cast<double>(trace.kernels[k].compulsory_write_bytes);
    }
    return chip::steady_dirty_share(read, written);
}

}  // namespace

Simulated simulate(trace::Trace trace, result::RunDescription run, const device::Device& d,
                   const chip::RunOptions& options) {
    const auto began = std::chrono::steady_clock::now();
    Simulated s{std::move(trace), {}, std::move(run), {}};
    chip::RunOptions steady = options;
    steady.dirty_share = dirty_share_of(s.trace);
    s.seen = chip::simulate(d, s.trace, steady);
    if (options.progress) fmt::print(stderr, "\r{:60}\r", "");
    s.run.wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    s.run.max_rss_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
    s.result = result::analyse(s.run, s.seen);
    s.run.power = power_of(s, d);
    return s;
}

namespace {

/// The kernels of `trace` run twice, and only the second time counts: L2 then holds what it can.
trace::Trace warmed(trace::Trace trace) {
    if (trace.warmup_kernels > 0) return trace;  // it does so itself
    const std::vector<trace::Kernel> counted = trace.kernels;
    for (trace::Kernel& kernel : trace.kernels) kernel.name += ".warmup";
    trace.warmup_kernels = trace.kernels.size();
    trace.kernels.insert(trace.kernels.end(), counted.begin(), counted.end());
    return trace;
}

/// The same operation of only the first `layers` layers.
workload::OpSpec with_layers(const workload::OpSpec& op, std::int64_t layers) {
    auto params = op.params();
    std::erase_if(params, [](const auto& param) { return param.first == "layers"; });
    params.emplace_back("layers", std::to_string(layers));
    return {op.op(), params};
}

/// `trace` is of the first `simulated` of `all` layers: the kernels of the last of them are steady.
result::Layers steady_layers(const trace::Trace& trace, std::int64_t all, std::int64_t simulated) {
    const std::string steady = fmt::format("layers.{}.", simulated - 1);
    const auto of_steady = [&](const trace::Kernel& kernel) { return kernel.name.starts_with(steady); };
    const auto begin = std::find_if(trace.kernels.begin(), trace.kernels.end(), of_steady);
    const auto end = std::find_if_not(begin, trace.kernels.end(), of_steady);
    return {all, simulated, static_cast<std::size_t>(begin - trace.kernels.begin()),
            static_cast<std::size_t>(end - trace.kernels.begin()), static_cast<double>(all - simulated + 1)};
}

}  // namespace

Work work_of(const workload::OpSpec& op, const workload::ScheduleWish& wish, const device::Device& device,
             const ConfigDirs& configs, std::int64_t most_prefill_layers, bool warm) {
    std::int64_t layers = 0, simulated = 0;
    if (op.op() == "model_decode" || op.op() == "model_prefill") {
        const std::int64_t whole = workload::load_model(*op.find("model"), configs.roots).layers;
        layers = simulated = op.number("layers", whole);
        if (layers > whole) throw InputError("layers", std::to_string(layers), fmt::format("1 to {}", whole));
        if (op.op() == "model_prefill") simulated = std::min(layers, most_prefill_layers);
    }
    Work work{workload::build_trace(simulated < layers ? with_layers(op, simulated) : op, wish, device, configs.roots),
              {layers, layers}};
    if (simulated < layers) work.layers = steady_layers(work.trace, layers, simulated);
    if (!warm) return work;
    const std::size_t before = work.trace.kernels.size();
    work.trace = warmed(std::move(work.trace));
    work.layers.steady_begin += work.trace.kernels.size() - before;
    work.layers.steady_end += work.trace.kernels.size() - before;
    return work;
}

Simulated simulate_op(const workload::OpSpec& op, const workload::ScheduleWish& wish, const device::Device& device,
                      const ConfigDirs& configs) {
    Work work = work_of(op, wish, device, configs);
    auto run = describe(op, work, device);
    return simulate(std::move(work.trace), std::move(run), device, {});
}

namespace {

void add(chip::TensorWork& work, const trace::Kernel& kernel, double times) {
    if (!kernel.tensor_cores) return;
    const trace::Dtype dtype = kernel.math_dtype;
    (trace::bits_of(dtype) <= 8    ? work.eight_bit
     : dtype == trace::Dtype::bf16 ? work.bf16
     : dtype == trace::Dtype::fp16 ? work.fp16
                                   : work.tf32) += kernel.flops * times;
}

}  // namespace

chip::TensorWork tensor_work(const trace::Trace& trace, const result::Layers& layers) {
    chip::TensorWork work;
    for (std::size_t k = trace.warmup_kernels; k < trace.kernels.size(); ++k)
        add(work, trace.kernels[k], layers.times(k));
    return work;
}

double counted_us(const Simulated& s) {
    const auto& seen = s.seen.kernels;
    const result::Layers& layers = s.run.layers;
    double us = (seen.back().end - seen[s.trace.warmup_kernels].ready).us();
    if (layers.steady_times > 1)
        us += (layers.steady_times - 1) * (seen[layers.steady_end - 1].end - seen[layers.steady_begin - 1].end).us();
    return us;
}

chip::Energy energy_of(const Simulated& s, const device::Device& device) {
    return chip::energy_of(device, s.result.counters, tensor_work(s.trace, s.run.layers), counted_us(s));
}

namespace {

/// The run, of which `fixed_us` would take as long at any clock, and the kernel that takes most of its energy.
struct Limited {
    chip::WorkAtClocks all, main;
};

Limited limited(const Simulated& s, const device::Device& device, double fixed_us) {
    Limited work{{energy_of(s, device), counted_us(s), fixed_us}, {}};
    double most = 0;
    for (std::size_t k = s.trace.warmup_kernels; k < s.seen.kernels.size(); ++k) {
        const KernelObservation& seen = s.seen.kernels[k];
        const Counters used = seen.at[4] - seen.at[1];
        const double us = (seen.end - seen.first_cta).us();
        chip::TensorWork tensor;
        add(tensor, s.trace.kernels[k], 1);
        const chip::Energy energy = chip::energy_of(device, used, tensor, us);
        const double joules = (energy.die() + energy.hbm) * s.run.layers.times(k);
        if (joules <= most) continue;
        most = joules;
        const auto moved = static_cast<double>(used.dram_read_bytes + used.dram_write_bytes);
        work.main = {energy, us, moved / device.hbm.peak_gbps() * 1e-3};
    }
    // Alone it is the run, of which the search knows better than its bytes what does not stretch.
    if (s.seen.kernels.size() == s.trace.warmup_kernels + 1) work.main = work.all;
    return work;
}

}  // namespace

result::Power power_of(const Simulated& s, const device::Device& device) {
    const chip::Energy e = energy_of(s, device);
    const double us = counted_us(s);
    const auto watts = [us](double joules) { return us > 0 ? joules / us * 1e6 : 0; };
    result::Power p;
    p.board_w = watts(e.total());
    p.limit_w = device.power.board_limit_w;
    p.peak_limit_w = std::max(device.power.peak_limit_w, p.limit_w);
    p.idle_w = watts(e.idle);
    p.hbm_w = watts(e.hbm);
    p.l2_w = watts(e.l2);
    p.crossbar_w = watts(e.crossbar);
    p.link_w = watts(e.link);
    p.smem_w = watts(e.smem);
    p.tensor_w = watts(e.tensor);
    p.vector_w = watts(e.vector);
    const double memory_us = s.result.roofline_memory_us;
    const double highest = s.run.clock_ceiling_mhz > 0
                               ? s.run.clock_ceiling_mhz
                               : chip::highest_mhz(device, tensor_work(s.trace, s.run.layers), memory_us);
    const Limited work = limited(s, device, memory_us);
    p.sustained_mhz = chip::clock_of(device, work.all, work.main, Repetition::forever(), highest);
    p.burst_mhz = chip::clock_of(device, work.all, work.main, {}, highest);
    return p;
}

namespace {

double memory_us(const workload::OpSpec& op, const Work& work, const device::Device& device) {
    return compulsory_bytes(describe(op, work, device)) / device.hbm.peak_gbps() * 1e-3;
}

}  // namespace

double highest_mhz(const workload::OpSpec& op, const Work& work, const device::Device& device) {
    return chip::highest_mhz(device, tensor_work(work.trace, work.layers), memory_us(op, work, device));
}

Simulated simulate_limited(const workload::OpSpec& op, const Work& work, device::Device& device,
                           const Repetition& repetition, const chip::RunOptions& options) {
    constexpr int kMostRuns = 12;  // two or three do, as a rule
    const double highest = highest_mhz(op, work, device), step = device.power.clock_step_mhz;
    device.clocks.sm_mhz = highest;
    const auto run = [&](const device::Device& d) {
        auto description = describe(op, work, d);
        description.clock_ceiling_mhz = highest;
        return simulate(work.trace, std::move(description), d, options);
    };
    device.clocks.sm_mhz =
        chip::likely_mhz(device, tensor_work(work.trace, work.layers), memory_us(op, work, device), repetition);
    Simulated s = run(device);
    double fixed_us = s.result.roofline_memory_us;
    for (int runs = 1; runs < kMostRuns; ++runs) {
        const double us = counted_us(s), mhz = device.clocks.sm_mhz;
        const Limited limits = limited(s, device, fixed_us);
        const double clock = chip::clock_of(device, limits.all, limits.main, repetition, highest);
        // A step more than this one would do as well is left there; a step less is taken, or the board were over its
        // limit.
        const double steps = (clock - mhz) / step;
        if (steps > -0.5 && steps < 1.5) break;
        device.clocks.sm_mhz = clock;
        s = run(device);
        // Two clocks far enough apart say better what does not stretch than a roofline does: us = fixed + share / mhz.
        if (std::abs(clock - mhz) >= 2 * step) fixed_us = (counted_us(s) * clock - us * mhz) / (clock - mhz);
    }
    return s;
}

}  // namespace memwall::cli
