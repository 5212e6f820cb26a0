#include "result/run.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "result/waterfall.h"

namespace memwall::result {

namespace {

constexpr double kPsPerUs = 1e6;
/// Utilisation from which a resource is said to bind.
constexpr double kBinds = 0.7;

/// The resource that binds an op: the busiest one, if it is busy for most of the time; else latency.
std::string bound_of(const RunDescription& run, const Counters& used, double us) {
    const double sm_ps = us * kPsPerUs * run.sms;
    struct Use {
        const char* name;
        double fraction;
    };
    const double hbm = (used.hbm.data_ps + used.hbm.refresh_ps + used.hbm.bank_ps + used.hbm.turnaround_ps) / (us * kPsPerUs * run.pseudo_channels);
    const double smem = static_cast<double>(used.smem_bytes) / run.smem_bytes_per_cycle / (us * run.sm_clock_mhz * run.sms);
    const double l2 = static_cast<double>(used.l2_read_bytes) / (us * 1e3) / run.l2_peak_gbps;
    const Use uses[] = {{"hbm", hbm}, {"l2", l2}, {"smem", smem}, {"tensor", used.tensor_busy_ps / sm_ps}, {"vector", used.vector_busy_ps / sm_ps}, {"sfu", used.sfu_busy_ps / sm_ps}};
    const Use* most = std::max_element(std::begin(uses), std::end(uses), [](const Use& a, const Use& b) { return a.fraction < b.fraction; });
    return most->fraction >= kBinds ? most->name : "latency";
}

OpResult one_op(const RunDescription& run, const KernelObservation& seen, double times) {
    const KernelInfo& info = run.kernels[seen.kernel];
    const Counters used = seen.at[4] - seen.at[1];
    OpResult op;
    op.name = info.name;
    op.op = info.op;
    op.times = times;
    op.start_us = seen.first_cta.us();
    op.time_us = (seen.end - seen.first_cta).us();
    op.gap_us = (seen.first_cta - seen.ready).us();
    op.flops = info.flops;
    op.tflops = info.flops / op.time_us * 1e-6;
    op.dram_read_bytes = used.dram_read_bytes;
    op.dram_write_bytes = used.dram_write_bytes;
    op.l2_bytes = used.l2_read_bytes + used.l2_write_bytes;
    op.smem_bytes = used.smem_bytes;
    op.dram_gbps = static_cast<double>(used.dram_read_bytes + used.dram_write_bytes) / op.time_us * 1e-3;
    op.fraction_of_peak = op.dram_gbps / run.hbm_peak_gbps;
    op.tensor_busy = used.tensor_busy_ps / (op.time_us * kPsPerUs * run.sms);
    const double memory_us = static_cast<double>(used.dram_read_bytes + used.dram_write_bytes) / run.hbm_peak_gbps * 1e-3;
    op.roofline_us = std::max(memory_us, info.peak_flops_per_us > 0 ? info.flops / info.peak_flops_per_us : 0);
    op.bound = bound_of(run, used, op.time_us);
    op.tile = info.tile;
    op.stages = info.stages;
    op.split = info.split;
    op.ctas = info.ctas;
    return op;
}

double times_of(const RunDescription& run, std::size_t kernel) { return kernel >= run.steady_begin && kernel < run.steady_end ? run.steady_times : 1; }

Counters scaled(const Counters& counters, double times) {
    Counters sum;
    for (int i = 0; i < static_cast<int>(times); ++i) sum += counters;
    return sum;
}

/// Counters of the counted kernels; a steady layer counts as often as it stands for.
Counters counted(const RunDescription& run, const Observations& seen) {
    const auto& first = seen.kernels[run.first_counted];
    const Counters all = seen.kernels.back().at[4] - first.at[1];
    if (run.steady_times <= 1) return all;
    const Counters steady = seen.kernels[run.steady_end - 1].at[4] - seen.kernels[run.steady_begin - 1].at[4];
    Counters sum = all;
    sum += scaled(steady, run.steady_times - 1);
    return sum;
}

Lifetime lifetime_of(const TileLifetime& life) {
    const double sum = life.hbm + life.interposer + life.l2 + life.far_link + life.crossbar + life.smem_wait + life.compute;
    if (sum <= 0) return {};
    return {life.hbm / sum, life.interposer / sum, (life.l2 + life.far_link) / sum, life.crossbar / sum, life.smem_wait / sum, life.compute / sum};
}

void check_limits(const RunDescription& run, const RunResult& result) {
    const double roofline = std::max(result.roofline_compute_us, result.roofline_memory_us);
    if (result.time_us < roofline * 0.999999) {
        throw ModelError(fmt::format("a result beats the roofline of {}: {:.3f} us simulated, {:.3f} us at the device's peaks", run.device, result.time_us, roofline));
    }
}

}  // namespace

RunResult analyse(const RunDescription& run, const Observations& seen) {
    RunResult result;
    const auto& first = seen.kernels[run.first_counted];
    double time_us = (seen.kernels.back().end - first.first_cta).us();
    if (run.steady_times > 1) {
        time_us += (run.steady_times - 1) * (seen.kernels[run.steady_end - 1].end - seen.kernels[run.steady_begin - 1].end).us();
    }
    result.time_us = time_us;
    result.sm_cycles = time_us * run.sm_clock_mhz;
    result.counters = counted(run, seen);
    double compute_us = 0;
    for (std::size_t k = run.first_counted; k < seen.kernels.size(); ++k) {
        const double times = times_of(run, k);
        result.ops.push_back(one_op(run, seen.kernels[k], times));
        result.flops += run.kernels[k].flops * times;
        if (run.kernels[k].peak_flops_per_us > 0) compute_us += run.kernels[k].flops * times / run.kernels[k].peak_flops_per_us;
    }
    const Counters& c = result.counters;
    const auto dram_bytes = static_cast<double>(c.dram_read_bytes + c.dram_write_bytes);
    result.roofline_compute_us = compute_us;
    result.roofline_memory_us = dram_bytes / run.hbm_peak_gbps * 1e-3;
    result.tflops = result.flops / time_us * 1e-6;
    result.arithmetic_intensity = dram_bytes > 0 ? result.flops / dram_bytes : 0;
    result.tokens_per_s = run.tokens > 0 ? run.tokens / time_us * 1e6 : 0;
    result.tensor_busy = c.tensor_busy_ps / (time_us * kPsPerUs * run.sms);
    const auto rows = static_cast<double>(c.dram_row_hits + c.dram_row_misses + c.dram_row_conflicts);
    result.row_hit_rate = rows > 0 ? static_cast<double>(c.dram_row_hits) / rows : 0;
    result.refresh_fraction = c.hbm.refresh_ps / (time_us * kPsPerUs * run.pseudo_channels);
    result.l2_hit_rate = c.l2_read_bytes > 0 ? static_cast<double>(c.l2_hit_bytes) / static_cast<double>(c.l2_read_bytes) : 0;
    result.lifetime = lifetime_of(c.life);
    check_limits(run, result);
    result.waterfall = waterfall(run, seen, result);
    return result;
}

}  // namespace memwall::result
