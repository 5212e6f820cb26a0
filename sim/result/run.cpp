#include "result/run.h"

#include <fmt/core.h>

#include <algorithm>

#include "base/error.h"
#include "result/waterfall.h"

namespace memwall::result {

namespace {

constexpr double kPsPerUs = 1e6;

double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

/// Time at peak bandwidth of the bytes that had to move: an op does not need those that it moved twice, and one whose
/// input lies in L2 moves fewer than the compulsory ones.
double memory_roofline_us(const RunDescription& run, double moved, double compulsory) {
    return ratio(compulsory > 0 ? std::min(moved, compulsory) : moved, run.hbm_peak_gbps) * 1e-3;
}

/// What binds an op: the busiest resource, if it is busy for at least kBinds of the time. Waits for banks count where
/// nothing else is as busy: a memory that has little to do has time to wait. Where nothing is: "launch" when the gap
/// before the op is longer than the op, else "latency".
std::string bound_of(const RunDescription& run, const Counters& used, const OpResult& op) {
    const double sm_ps = op.time_us * kPsPerUs * run.sms;
    const double channel_ps = op.time_us * kPsPerUs * run.pseudo_channels;
    const auto gbps = [&](std::uint64_t bytes) { return ratio(static_cast<double>(bytes) * 1e-3, op.time_us); };
    struct Use {
        const char* name;
        double fraction;
    };
    const double transferring = used.hbm.data_ps + used.hbm.refresh_ps + used.hbm.turnaround_ps;
    const Use uses[] = {{"hbm", ratio(transferring, channel_ps)},
                        {"l2", std::max(ratio(gbps(used.l2_read_bytes), run.l2_peak_gbps),
                                        ratio(used.l2_lookup_busy_ps, op.time_us * kPsPerUs * run.l2_slices))},
                        {"link", ratio(gbps(used.link_bytes), run.link_peak_gbps)},
                        {"crossbar", ratio(gbps(used.sm_read_bytes - used.multicast_bytes), run.crossbar_peak_gbps)},
                        {"smem", ratio(used.smem_busy_ps, sm_ps)},
                        {"tensor", ratio(used.tensor_busy_ps, sm_ps)},
                        {"vector", ratio(used.vector_busy_ps, sm_ps)},
                        {"sfu", ratio(used.sfu_busy_ps, sm_ps)}};
    const Use* most = std::max_element(std::begin(uses), std::end(uses),
                                       [](const Use& a, const Use& b) { return a.fraction < b.fraction; });
    if (most->fraction >= kBinds) return most->name;
    if (ratio(transferring + used.hbm.bank_ps, channel_ps) >= kBinds) return "hbm";
    return op.gap_us > op.time_us ? "launch" : "latency";
}

OpResult one_op(const RunDescription& run, const KernelObservation& seen, double times) {
    const KernelInfo& info = run.kernels[seen.kernel];
    const Counters used = seen.at[4] - seen.at[1];
    OpResult op;
    op.name = info.name;
    op.op = info.op;
    op.params = info.params;
    op.times = times;
    op.start_us = seen.first_cta.us();
    op.time_us = (seen.end - seen.first_cta).us();
    op.gap_us = std::max(0.0, (seen.first_cta - seen.ready).us());  // a dependent launch may begin before
    op.flops = info.flops;
    op.tflops = ratio(info.flops, op.time_us) * 1e-6;
    op.dram_read_bytes = used.dram_read_bytes;
    op.dram_write_bytes = used.dram_write_bytes;
    op.l2_bytes = used.l2_read_bytes + used.l2_write_bytes;
    op.smem_bytes = used.smem_bytes;
    const auto moved = static_cast<double>(used.dram_read_bytes + used.dram_write_bytes);
    op.dram_gbps = ratio(moved, op.time_us) * 1e-3;
    op.fraction_of_peak = op.dram_gbps / run.hbm_peak_gbps;
    op.tensor_busy = ratio(used.tensor_busy_ps, op.time_us * kPsPerUs * run.sms);
    const double memory_us =
        memory_roofline_us(run, moved, static_cast<double>(info.compulsory_read_bytes + info.compulsory_write_bytes));
    op.roofline_us = std::max(memory_us, ratio(info.flops, info.peak_flops_per_us));
    op.bound = bound_of(run, used, op);
    op.tile = info.tile;
    op.stages = info.stages;
    op.split = info.split;
    op.stream_k = info.stream_k;
    op.ctas = info.ctas;
    return op;
}

/// Counters of the counted kernels; a steady layer counts as often as it stands for.
Counters counted(const RunDescription& run, const Observations& seen) {
    const auto& first = seen.kernels[run.first_counted];
    const Counters all = seen.kernels.back().at[4] - first.at[1];
    if (run.layers.steady_times <= 1) return all;
    const Counters steady =
        seen.kernels[run.layers.steady_end - 1].at[4] - seen.kernels[run.layers.steady_begin - 1].at[4];
    Counters sum = all;
    sum.add(steady, run.layers.steady_times - 1);
    return sum;
}

Lifetime lifetime_of(const TileLifetime& life) {
    const double sum =
        life.hbm + life.interposer + life.l2 + life.far_link + life.crossbar + life.smem_wait + life.compute;
    if (sum <= 0) return {};
    return {life.hbm / sum,      life.interposer / sum, (life.l2 + life.far_link) / sum,
            life.crossbar / sum, life.smem_wait / sum,  life.compute / sum};
}

void check_limits(const RunDescription& run, const RunResult& result) {
    // The bytes that really moved must fit as well, not only those that had to.
    const auto moved = static_cast<double>(result.counters.dram_read_bytes + result.counters.dram_write_bytes);
    const double roofline = std::max(result.roofline_compute_us, ratio(moved, run.hbm_peak_gbps) * 1e-3);
    if (result.time_us < roofline * 0.999999) {
        throw ModelError(
            fmt::format("a result beats the roofline of {}: {:.3f} us simulated, {:.3f} us at the device's peaks",
                        run.device, result.time_us, roofline));
    }
}

}  // namespace

std::pair<double, double> range_of(const std::vector<Neighbour>& near) {
    const auto [low, high] = std::minmax_element(near.begin(), near.end(), [](const Neighbour& a, const Neighbour& b) {
        return a.time_error_pct < b.time_error_pct;
    });
    return {low->time_error_pct, high->time_error_pct};
}

const KernelInfo* main_kernel(const RunDescription& run) {
    const KernelInfo* main = nullptr;
    for (std::size_t k = run.first_counted; k < run.kernels.size(); ++k) {
        if (main == nullptr || run.kernels[k].flops > main->flops) main = &run.kernels[k];
    }
    return main;
}

double compulsory_bytes(const RunDescription& run) {
    double bytes = 0;
    for (std::size_t k = run.first_counted; k < run.kernels.size(); ++k)
        bytes += run.layers.times(k) *
                 static_cast<double>(run.kernels[k].compulsory_read_bytes + run.kernels[k].compulsory_write_bytes);
    return bytes;
}

RunResult analyse(const RunDescription& run, const Observations& seen) {
    if (seen.kernels.size() <= run.first_counted)
        throw ModelError("nothing to report: no kernel ran after the warm-up");
    RunResult result;
    const auto& first = seen.kernels[run.first_counted];
    double time_us = (seen.kernels.back().end - first.first_cta).us();
    if (run.layers.steady_times > 1) {
        time_us += (run.layers.steady_times - 1) *
                   (seen.kernels[run.layers.steady_end - 1].end - seen.kernels[run.layers.steady_begin - 1].end).us();
    }
    result.time_us = time_us;
    result.sm_cycles = time_us * run.sm_clock_mhz;
    result.counters = counted(run, seen);
    double compute_us = 0;
    for (std::size_t k = run.first_counted; k < seen.kernels.size(); ++k) {
        const double times = run.layers.times(k);
        result.ops.push_back(one_op(run, seen.kernels[k], times));
        result.flops += run.kernels[k].flops * times;
        compute_us += ratio(run.kernels[k].flops, run.kernels[k].peak_flops_per_us) * times;
    }
    const Counters& c = result.counters;
    const auto dram_bytes = static_cast<double>(c.dram_read_bytes + c.dram_write_bytes);
    result.roofline_compute_us = compute_us;
    result.roofline_memory_us = memory_roofline_us(run, dram_bytes, compulsory_bytes(run));
    result.tflops = ratio(result.flops, time_us) * 1e-6;
    result.arithmetic_intensity = dram_bytes > 0 ? result.flops / dram_bytes : 0;
    result.tokens_per_s = ratio(run.tokens, time_us) * 1e6;
    result.smem_busy = ratio(c.smem_busy_ps, time_us * kPsPerUs * run.sms);
    result.tensor_busy = ratio(c.tensor_busy_ps, time_us * kPsPerUs * run.sms);
    const auto rows = static_cast<double>(c.dram_row_hits + c.dram_row_misses + c.dram_row_conflicts);
    result.row_hit_rate = rows > 0 ? static_cast<double>(c.dram_row_hits) / rows : 0;
    result.refresh_fraction = ratio(c.hbm.refresh_ps, time_us * kPsPerUs * run.pseudo_channels);
    result.l2_lookup_busy = ratio(c.l2_lookup_busy_ps, time_us * kPsPerUs * run.l2_slices);
    result.l2_hit_rate =
        c.l2_read_bytes > 0 ? static_cast<double>(c.l2_hit_bytes) / static_cast<double>(c.l2_read_bytes) : 0;
    result.lifetime = lifetime_of(c.life);
    check_limits(run, result);
    result.waterfall = waterfall(run, seen, result);
    return result;
}

}  // namespace memwall::result
