// What a run means: the plain description of what was asked, and the figures that every report shows.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/observations.h"

namespace memwall::result {

/// A kernel of the run as the reports need it.
struct KernelInfo {
    std::string name, op;
    std::vector<std::pair<std::string, std::string>> params;  ///< see trace::Kernel
    double flops = 0;
    double peak_flops_per_us = 0;  ///< of the units that its arithmetic uses, at the run's clock
    std::uint64_t compulsory_read_bytes = 0, compulsory_write_bytes = 0;
    std::array<int, 3> tile{};
    int stages = 0, split = 1;
    bool stream_k = false;
    std::int64_t ctas = 0;
    bool tensor_cores = false;
};

/// A correlated measurement near the run, and the error that its simulation had.
struct Neighbour {
    std::string id;
    double distance = 0;        ///< e^distance is a factor between the sizes, all parameters together
    double time_error_pct = 0;  ///< of the simulated time
};

/// An operation of the run that has measurements near it. Operations alike, of all layers, are one.
struct OperationBand {
    std::string op;    ///< with its parameters
    double share = 0;  ///< of the run's time
    double low_pct = 0, high_pct = 0;
    std::vector<Neighbour> neighbours;
};

/// What measurements of its operations say of a run: the error of their time if each had the least, and the most, of
/// its neighbours' errors.
struct ComposedBand {
    double covered = 0;  ///< share of the run's time that has measurements near it
    double low_pct = 0, high_pct = 0;
    std::vector<OperationBand> operations;  ///< those with the largest shares first
};

/// Utilisation from which a resource is said to bind.
inline constexpr double kBinds = 0.7;

/// The smallest and the largest error of `near`, which is not empty.
std::pair<double, double> range_of(const std::vector<Neighbour>& near);

/// What the board draws over the run, in watts, and why.
struct Power {
    double board_w = 0;
    double limit_w = 0, peak_limit_w = 0;  ///< of the average over some tens of milliseconds, and of any moment
    /// The highest clocks that these two and the boost of such work allow.
    double sustained_mhz = 0, burst_mhz = 0;
    double idle_w = 0, hbm_w = 0, l2_w = 0, crossbar_w = 0, link_w = 0, smem_w = 0, tensor_w = 0, vector_w = 0;
};

/// Extrapolation of identical layers: the kernels [steady_begin, steady_end) of a trace, those of one layer, stand for
/// `steady_times` repetitions.
struct Layers {
    std::int64_t all = 0, simulated = 0;  ///< 0: no model
    std::size_t steady_begin = 0, steady_end = 0;
    double steady_times = 1;  ///< a whole number

    /// How often a kernel of the trace counts.
    [[nodiscard]] double times(std::size_t kernel) const {
        return kernel >= steady_begin && kernel < steady_end ? steady_times : 1;
    }
};

/// What was run, on what. Filled in by the command line; no JSON, no trace.
struct RunDescription {
    std::string device, version;
    std::vector<std::pair<std::string, std::string>> workload;  ///< op or model and its parameters, in order
    std::vector<KernelInfo> kernels;                            ///< of the whole trace
    std::size_t first_counted = 0;                              ///< kernels before it only warmed up
    double sm_clock_mhz = 0;
    double clock_ceiling_mhz = 0;  ///< the clock was sought up to this one, under the power limits; 0: it was given
    int sms = 0;
    int pseudo_channels = 0;
    double hbm_peak_gbps = 0;
    double vector_lanes = 0;
    int l2_slices = 1;
    double l2_peak_gbps = 0;        ///< what the slices' ports pass
    double crossbar_peak_gbps = 0;  ///< what the GPCs' ports pass
    double link_peak_gbps = 0;      ///< what passes between the partitions, both ways
    double tokens = 0;              ///< produced or processed; 0: none
    Layers layers;
    Power power;
    bool correlated = false;  ///< there was a correlation to look into
    std::vector<Neighbour> neighbours;
    ComposedBand by_operation;  ///< of a model; empty for an operation by itself
    double wall_s = 0;
    std::uint64_t max_rss_bytes = 0;
};

struct OpResult {
    std::string name, op;
    std::vector<std::pair<std::string, std::string>> params;  ///< see trace::Kernel
    std::string bound;  ///< hbm l2 link crossbar smem tensor vector sfu, or latency or launch: see bound_of
    double start_us = 0, time_us = 0, gap_us = 0;
    double flops = 0, tflops = 0;
    std::uint64_t dram_read_bytes = 0, dram_write_bytes = 0, l2_bytes = 0, smem_bytes = 0;
    double dram_gbps = 0, fraction_of_peak = 0, tensor_busy = 0;
    double roofline_us = 0;
    std::array<int, 3> tile{};
    int stages = 0, split = 1;
    bool stream_k = false;
    std::int64_t ctas = 0;
    double times = 1;  ///< how often it counts (extrapolated layers)
};

struct Loss {
    std::string cause;
    double us;
};

struct Lifetime {
    double hbm = 0, interposer = 0, l2 = 0, crossbar = 0, smem_wait = 0, compute = 0;
};

struct RunResult {
    double time_us = 0, sm_cycles = 0;
    double flops = 0, tflops = 0, arithmetic_intensity = 0, tokens_per_s = 0;
    /// FLOPs over peak; DRAM bytes (those moved or the compulsory ones, whichever are fewer) over peak.
    double roofline_compute_us = 0, roofline_memory_us = 0;
    double smem_busy = 0, tensor_busy = 0, row_hit_rate = 0, refresh_fraction = 0, l2_hit_rate = 0;
    double l2_lookup_busy = 0;  ///< share of the time in which a slice's tags were looked up, mean of the slices
    Counters counters;          ///< of the counted part, extrapolated
    Lifetime lifetime;          ///< fractions that add up to 1
    std::vector<OpResult> ops;
    std::vector<Loss> waterfall;  ///< adds up to time_us
};

/// The kernel with the most FLOPs, whose schedule stands for the run's: for a single op, its own. Null: no kernel.
const KernelInfo* main_kernel(const RunDescription& run);

/// Bytes that the counted kernels must move, each kernel as often as it stands for.
double compulsory_bytes(const RunDescription& run);

/// Throws ModelError when a law is broken: a result beats its roofline, or the waterfall does not add up.
RunResult analyse(const RunDescription& run, const Observations& seen);

}  // namespace memwall::result
