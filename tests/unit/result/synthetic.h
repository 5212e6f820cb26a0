// Observations made by hand: a machine of 2 SMs and 4 pseudo-channels whose kernels do what a test says, phase by
// phase.
#pragma once

#include <array>

#include "result/run.h"

namespace memwall::result {

inline constexpr int kSms = 2;
inline constexpr int kChannels = 4;
inline constexpr int kSlices = 5;
inline constexpr double kPeakGbps = 1000;  // a microsecond moves a megabyte

inline Ps microseconds(double us) {
    return {static_cast<std::int64_t>(us * 1e6)};
}

/// What all channels, or all SMs, do in one phase; `us` is elapsed time, the rest are shares of it in microseconds.
struct PhaseScript {
    double us = 0;
    double data = 0, bank = 0, refresh = 0, turnaround = 0;  ///< of the channels; what is left is idle
    double tensor = 0, vector = 0, wait = 0;                 ///< of the SMs
    TileLifetime life = {};
    double lookups = 0;  ///< of the slices
    double stores = 0;   ///< of the SMs: waiting for results to leave
};

class Script {
public:
    Script() {
        run.device = "toy";
        run.version = "test";
        run.workload = {{"op", "gemm"}, {"m", "64"}, {"dtype", "bf16"}};
        run.sm_clock_mhz = 1000;
        run.sms = kSms;
        run.pseudo_channels = kChannels;
        run.hbm_peak_gbps = kPeakGbps;
        run.vector_lanes = 128;
        run.l2_slices = kSlices;
        run.l2_peak_gbps = 5000;
        run.crossbar_peak_gbps = 4000;
    }

    /// A kernel of four phases (launch gap, ramp-up, steady, tail) right after the one before.
    void kernel(const KernelInfo& info, const std::array<PhaseScript, 4>& phases) {
        KernelObservation k;
        k.kernel = run.kernels.size();
        run.kernels.push_back(info);
        k.ready = now_;
        k.at[0] = sum_;
        Ps* const moments[] = {&k.first_cta, &k.first_data, &k.drain, &k.end};
        for (std::size_t phase = 0; phase < phases.size(); ++phase) {
            add(phases[phase]);
            *moments[phase] = now_;
            k.at[phase + 1] = sum_;
        }
        seen.kernels.push_back(k);
        seen.end = now_;
        seen.total = sum_;
    }

    RunDescription run;
    Observations seen;

private:
    void add(const PhaseScript& p) {
        now_ += microseconds(p.us);
        const double channels_ps = 1e6 * kChannels, sms_ps = 1e6 * kSms;
        sum_.hbm += {p.data * channels_ps, p.refresh * channels_ps, p.bank * channels_ps, p.turnaround * channels_ps,
                     (p.us - p.data - p.refresh - p.bank - p.turnaround) * channels_ps};
        sum_.dram_read_bytes += static_cast<std::uint64_t>(p.data * kPeakGbps * 1e3);
        sum_.tensor_busy_ps += p.tensor * sms_ps;
        sum_.vector_busy_ps += p.vector * sms_ps;
        sum_.wait_data_ps += p.wait * sms_ps;
        sum_.wait_stores_ps += p.stores * sms_ps;
        sum_.life += p.life;
        sum_.l2_lookup_busy_ps += p.lookups * 1e6 * kSlices;
    }

    Ps now_;
    Counters sum_;
};

inline KernelInfo kernel_info(const char* name, double compulsory_us, double compute_us = 0, bool tensor = true) {
    KernelInfo info;
    info.name = name;
    info.op = "gemm";
    info.peak_flops_per_us = 1e6;
    info.flops = compute_us * info.peak_flops_per_us;
    info.compulsory_read_bytes = static_cast<std::uint64_t>(compulsory_us * kPeakGbps * 1e3);
    info.tensor_cores = tensor;
    info.tile = {64, 64, 64};
    info.stages = 4;
    info.ctas = 2;
    return info;
}

}  // namespace memwall::result
