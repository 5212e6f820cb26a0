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
    double arithmetic_us = 0;  ///< mean over the SMs
    Counters used;
};

using Phases = std::array<PhaseSum, kPhases>;

/// What SMs spent on arithmetic, in the units that the kernel's compute roofline is about.
double arithmetic_us(const RunDescription& run, const KernelInfo& kernel, const Counters& used) {
    const double busy_ps =
        kernel.tensor_cores ? used.tensor_busy_ps : used.tensor_busy_ps + used.vector_busy_ps + used.sfu_busy_ps;
    return busy_ps / (kPsPerUs * run.sms);
}

/// Elapsed time and counters of each phase; overlapping kernels are clipped to what the one before left.
Phases sum_phases(const RunDescription& run, const Observations& seen) {
    Phases sums;
    Ps reached = seen.kernels[run.first_counted].first_cta;
    Counters at_reached = seen.kernels[run.first_counted].at[1];
    for (std::size_t k = run.first_counted; k < seen.kernels.size(); ++k) {
        const KernelObservation& kernel = seen.kernels[k];
        const double times = run.layers.times(k);
        const Ps moments[] = {kernel.first_cta, kernel.first_data, kernel.drain, kernel.end};
        for (int phase = 0; phase < kPhases; ++phase) {
            const Ps until = moments[phase];
            if (until <= reached) continue;
            // A kernel that brings no tile to shared memory (a chase, an empty launch) is at work from its first CTA
            // on.
            const bool at_work = phase == kRamp && kernel.first_data >= kernel.drain;
            PhaseSum& sum = sums[static_cast<std::size_t>(at_work ? kSteady : phase)];
            sum.us += (until - reached).us() * times;
            const Counters used = kernel.at[static_cast<std::size_t>(phase) + 1] - at_reached;
            sum.arithmetic_us += arithmetic_us(run, run.kernels[k], used) * times;
            sum.used.add(used, times);
            reached = until;
            at_reached = kernel.at[static_cast<std::size_t>(phase) + 1];
        }
    }
    return sums;
}

using PhaseTimes = std::array<double, kPhases>;

/// Elapsed less busy, by phase; what is busier than its phase is long goes to the next one.
PhaseTimes idle_times(const Phases& phases, const PhaseTimes& busy_us) {
    PhaseTimes idle{};
    double carried = 0;
    for (std::size_t phase = 0; phase < kPhases; ++phase) {
        const double left = phases[phase].us - busy_us[phase] - carried;
        idle[phase] = std::max(left, 0.0);
        carried = std::max(-left, 0.0);
    }
    return idle;
}

double share_of(double part, double all) {
    return all > 0 ? part / all : 0;
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
    if (sum <= 0) {
        losses.push_back({"exposed latency", us});  // stores alone, or nothing but barriers
        return;
    }
    for (const auto& [name, time] : parts) losses.push_back({name, us * time / sum});
}

/// A tail in which the slices' look-ups bind is theirs for as long as they took: results that leave in small pieces
/// queue there. Slices that look up now and then hold nobody up.
void add_idle_ends(std::vector<Loss>& losses, const RunDescription& run, const Phases& phases, const PhaseTimes& idle) {
    losses.push_back({"launch gaps", idle[kGap]});
    losses.push_back({"ramp-up", idle[kRamp]});
    const double busy_us = phases[kTail].used.l2_lookup_busy_ps / (kPsPerUs * run.l2_slices);
    const bool binds = phases[kTail].us > 0 && busy_us >= kBinds * phases[kTail].us;
    const double looking_up = binds ? std::min(idle[kTail], busy_us) : 0;
    losses.push_back({"tail and load imbalance", idle[kTail] - looking_up});
    losses.push_back({"tail: L2 look-ups", looking_up});
}

std::vector<Loss> memory_losses(const RunDescription& run, const RunResult& result, const Phases& phases) {
    const double per_us = kPsPerUs * run.pseudo_channels;
    HbmTime all;
    PhaseTimes busy_us{};
    for (std::size_t phase = 0; phase < kPhases; ++phase) {
        const HbmTime& h = phases[phase].used.hbm;
        all += h;
        busy_us[phase] = (h.data_ps + h.bank_ps + h.refresh_ps + h.turnaround_ps) / per_us;
    }
    std::vector<Loss> losses = {{"bytes at peak bandwidth", result.roofline_memory_us}};
    losses.push_back({"extra traffic", std::max(0.0, all.data_ps / per_us - result.roofline_memory_us)});
    losses.push_back({"bank conflicts and activates", all.bank_ps / per_us});
    losses.push_back({"refresh", all.refresh_ps / per_us});
    losses.push_back({"read-write turnaround", all.turnaround_ps / per_us});
    const PhaseTimes idle = idle_times(phases, busy_us);
    add_idle_ends(losses, run, phases, idle);
    // In the steady phase memory idles because SMs compute, because their results wait to leave, or because their
    // loads' latency is not covered.
    const Counters& steady = phases[kSteady].used;
    const double busy = steady.tensor_busy_ps + steady.vector_busy_ps + steady.sfu_busy_ps;
    const double spent = busy + steady.wait_data_ps + steady.wait_stores_ps;
    const double computing = share_of(busy, spent), storing = share_of(steady.wait_stores_ps, spent);
    losses.push_back({"exposed compute", idle[kSteady] * computing});
    losses.push_back({"exposed stores", idle[kSteady] * storing});
    share_latency(losses, idle[kSteady] * std::max(0.0, 1 - computing - storing), steady.life);
    return losses;
}

std::vector<Loss> compute_losses(const RunDescription& run, const RunResult& result, const Phases& phases) {
    PhaseTimes busy_us{};
    double all_busy = 0, all_idle = 0;
    for (std::size_t phase = 0; phase < kPhases; ++phase) {
        busy_us[phase] = phases[phase].arithmetic_us;
        all_busy += busy_us[phase];
    }
    PhaseTimes idle = idle_times(phases, busy_us);
    for (const double us : idle) all_idle += us;
    const double beyond = all_busy - result.roofline_compute_us;
    if (beyond < 0 && all_idle > 0) {
        for (double& us : idle) us *= std::max(0.0, all_idle + beyond) / all_idle;
    }
    std::vector<Loss> losses = {{"FLOPs at peak rate", result.roofline_compute_us}};
    losses.push_back({"padding and masked arithmetic", std::max(0.0, beyond)});
    add_idle_ends(losses, run, phases, idle);
    const Counters& steady = phases[kSteady].used;
    const double vector = steady.vector_busy_ps + steady.sfu_busy_ps;
    const double spent = vector + steady.wait_data_ps + steady.wait_stores_ps;
    const double computing = share_of(vector, spent), storing = share_of(steady.wait_stores_ps, spent);
    losses.push_back({"vector work, epilogues and softmax", idle[kSteady] * computing});
    losses.push_back({"waiting for stores to leave", idle[kSteady] * storing});
    losses.push_back(
        {"waiting for data, shared memory and barriers", idle[kSteady] * std::max(0.0, 1 - computing - storing)});
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
