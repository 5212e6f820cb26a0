#include "result/waterfall.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace memwall::result {

namespace {

constexpr double kPsPerUs = 1e6;

enum Phase { kGap, kRamp, kSteady, kTail, kPhases };

/// What happened in one kind of phase, over the whole run.
struct PhaseSum {
    double us = 0;
    Counters used;
};

/// Elapsed time and counters of each phase; overlapping kernels are clipped to what the one before left.
std::array<PhaseSum, kPhases> sum_phases(const RunDescription& run, const Observations& seen) {
    std::array<PhaseSum, kPhases> sums;
    Ps reached = seen.kernels[run.first_counted].first_cta;
    Counters at_reached = seen.kernels[run.first_counted].at[1];
    for (std::size_t k = run.first_counted; k < seen.kernels.size(); ++k) {
        const KernelObservation& kernel = seen.kernels[k];
        const double times = k >= run.steady_begin && k < run.steady_end ? run.steady_times : 1;
        const Ps moments[] = {kernel.first_cta, kernel.first_data, kernel.drain, kernel.end};
        for (int phase = 0; phase < kPhases; ++phase) {
            const Ps until = moments[phase];
            if (until <= reached) continue;
            PhaseSum& sum = sums[static_cast<std::size_t>(phase)];
            sum.us += (until - reached).us() * times;
            const Counters used = kernel.at[static_cast<std::size_t>(phase) + 1] - at_reached;
            for (int i = 0; i < static_cast<int>(times); ++i) sum.used += used;
            reached = until;
            at_reached = kernel.at[static_cast<std::size_t>(phase) + 1];
        }
    }
    return sums;
}

/// Shares `us` of a steady phase out over where its loads spent their time.
void share_latency(std::vector<Loss>& losses, double us, const TileLifetime& life) {
    const std::array<std::pair<const char*, double>, 5> parts{{{"exposed latency: memory", life.hbm},
                                                               {"exposed latency: interposer", life.interposer},
                                                               {"exposed latency: L2", life.l2},
                                                               {"exposed latency: far partition", life.far_link},
                                                               {"exposed latency: crossbar", life.crossbar}}};
    double sum = 0;
    for (const auto& [name, time] : parts) sum += time;
    for (const auto& [name, time] : parts) losses.push_back({name, sum > 0 ? us * time / sum : us / static_cast<double>(parts.size())});
}

std::vector<Loss> memory_losses(const RunDescription& run, const RunResult& result, const std::array<PhaseSum, kPhases>& phases) {
    const double per_us = kPsPerUs * run.pseudo_channels;
    Counters all;
    for (const PhaseSum& phase : phases) all += phase.used;
    std::vector<Loss> losses = {{"bytes at peak bandwidth", result.roofline_memory_us}};
    losses.push_back({"bank conflicts and activates", all.hbm.bank_ps / per_us});
    losses.push_back({"refresh", all.hbm.refresh_ps / per_us});
    losses.push_back({"read-write turnaround", all.hbm.turnaround_ps / per_us});
    const auto idle = [&](Phase phase) {
        const PhaseSum& sum = phases[static_cast<std::size_t>(phase)];
        const HbmTime& h = sum.used.hbm;
        return sum.us - (h.data_ps + h.bank_ps + h.refresh_ps + h.turnaround_ps) / per_us;
    };
    losses.push_back({"launch gaps", idle(kGap)});
    losses.push_back({"ramp-up", idle(kRamp)});
    losses.push_back({"tail and load imbalance", idle(kTail)});
    // In the steady phase memory idles because SMs compute, or because their loads' latency is not covered.
    const PhaseSum& steady = phases[kSteady];
    const double steady_idle = idle(kSteady);
    const double busy = (steady.used.tensor_busy_ps + steady.used.vector_busy_ps + steady.used.sfu_busy_ps) / (kPsPerUs * run.sms);
    const double waiting = steady.used.wait_data_ps / (kPsPerUs * run.sms);
    const double computing = std::clamp(busy / std::max(busy + waiting, 1e-9), 0.0, 1.0);
    losses.push_back({"exposed compute", steady_idle * computing});
    share_latency(losses, steady_idle * (1 - computing), steady.used.life);
    return losses;
}

std::vector<Loss> compute_losses(const RunDescription& run, const RunResult& result, const std::array<PhaseSum, kPhases>& phases) {
    std::vector<Loss> losses = {{"FLOPs at peak rate", result.roofline_compute_us}};
    // Tensor work beyond the useful FLOPs: edge tiles and padding.
    double busy_us = 0;
    for (const PhaseSum& phase : phases) busy_us += phase.used.tensor_busy_ps / (kPsPerUs * run.sms);
    const double padding = std::max(0.0, busy_us - result.roofline_compute_us);
    losses.push_back({"padding of edge tiles", padding});
    const auto idle = [&](Phase phase) {
        const PhaseSum& sum = phases[static_cast<std::size_t>(phase)];
        return sum.us - sum.used.tensor_busy_ps / (kPsPerUs * run.sms);
    };
    losses.push_back({"launch gaps", idle(kGap)});
    losses.push_back({"ramp-up", idle(kRamp)});
    losses.push_back({"tail and load imbalance", idle(kTail)});
    const PhaseSum& steady = phases[kSteady];
    const double steady_idle = idle(kSteady);
    const double vector = (steady.used.vector_busy_ps + steady.used.sfu_busy_ps) / (kPsPerUs * run.sms);
    const double waiting = steady.used.wait_data_ps / (kPsPerUs * run.sms);
    const double share = vector / std::max(vector + waiting, 1e-9);
    losses.push_back({"vector work, epilogues and softmax", steady_idle * share});
    losses.push_back({"waiting for data, shared memory and barriers", steady_idle * (1 - share)});
    return losses;
}

}  // namespace

std::vector<Loss> waterfall(const RunDescription& run, const Observations& seen, const RunResult& result) {
    const auto phases = sum_phases(run, seen);
    const bool compute = result.roofline_compute_us > result.roofline_memory_us;
    auto losses = compute ? compute_losses(run, result, phases) : memory_losses(run, result, phases);
    double sum = 0;
    for (const Loss& loss : losses) sum += loss.us;
    const double residue = result.time_us - sum;
    if (std::abs(residue) > 0.001 * result.time_us + 0.1) {
        throw ModelError(fmt::format("the waterfall does not add up: {:.4f} us of {:.4f} us", sum, result.time_us));
    }
    // Counters are read when a window of the grid closes, the phases' ends are exact: what falls between is the rest.
    losses.push_back({"unattributed", residue});
    std::stable_sort(losses.begin() + 1, losses.end(), [](const Loss& a, const Loss& b) { return a.us > b.us; });
    return losses;
}

}  // namespace memwall::result
