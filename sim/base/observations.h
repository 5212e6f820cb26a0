// What the chip reports of a run: plain numbers, gathered beside the model and read by `result`, which gives them
// meaning. All times are simulated picoseconds from the start of the run.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/units.h"

namespace memwall {

/// Time of all pseudo-channels, summed, by what their data bus was doing. The five add up to
/// pseudo_channels * elapsed time.
struct HbmTime {
    double data_ps = 0;        ///< transferring
    double refresh_ps = 0;     ///< work waiting, and the bank it needs is (or all are) in refresh
    double bank_ps = 0;        ///< work waiting on activate, precharge, tFAW, column spacing
    double turnaround_ps = 0;  ///< switching between reads and writes
    double idle_ps = 0;        ///< nothing queued

    HbmTime& operator+=(const HbmTime& o);
    friend HbmTime operator-(HbmTime a, const HbmTime& b);
};

/// Where bytes on their way to an SM spent their time: sums over chunks of time * bytes. `bytes` divides them.
struct TileLifetime {
    double hbm = 0, interposer = 0, l2 = 0, far_link = 0, crossbar = 0, smem_wait = 0, compute = 0;
    double bytes = 0;

    TileLifetime& operator+=(const TileLifetime& o);
    friend TileLifetime operator-(TileLifetime a, const TileLifetime& b);
};

/// Cumulative counters of the whole chip; a kernel's own are the difference of two snapshots.
struct Counters {
    std::uint64_t dram_read_bytes = 0, dram_write_bytes = 0;
    std::uint64_t dram_row_hits = 0, dram_row_misses = 0, dram_row_conflicts = 0, dram_activates = 0;
    std::uint64_t l2_read_bytes = 0, l2_write_bytes = 0;  ///< asked of L2 by SMs (after coalescing)
    std::uint64_t l2_hit_bytes = 0;                       ///< of the reads: found in the SM's own half
    std::uint64_t l2_near_bytes = 0, l2_far_bytes = 0;    ///< of the reads: by home partition
    std::uint64_t l2_far_hit_bytes = 0;                   ///< missed near, found at the far home
    std::uint64_t l2_coalesced_bytes = 0;                 ///< joined another SM's request before the slices
    std::uint64_t l2_writeback_bytes = 0;
    double l2_lookup_busy_ps = 0;                         ///< of the slices' tags, summed over slices
    std::uint64_t link_bytes = 0;                         ///< over the link between the halves
    std::uint64_t sm_read_bytes = 0, sm_write_bytes = 0;  ///< delivered to SMs; sent by SMs
    std::uint64_t multicast_bytes = 0;                    ///< of sm_read: delivered by multicast copies
    std::uint64_t smem_bytes = 0;                         ///< moved by shared memory
    double smem_busy_ps = 0;                              ///< summed over SMs, as the following
    double tensor_busy_ps = 0;
    double vector_busy_ps = 0, sfu_busy_ps = 0;
    double wait_data_ps = 0;    ///< consumers waiting on a full barrier, per SM with work, summed
    double wait_stores_ps = 0;  ///< roles that wait for their stores: to be read, or accepted by L2
    double sm_active_ps = 0;    ///< SMs with at least one CTA, summed
    std::uint64_t ctas = 0;
    HbmTime hbm;
    TileLifetime life;

    Counters& operator+=(const Counters& o);
    /// `o` as often as it stands for, a whole number.
    void add(const Counters& o, double times) {
        for (int i = 0; i < static_cast<int>(times); ++i) *this += o;
    }
    friend Counters operator-(Counters a, const Counters& b);
};

/// One kernel's life. Phases: [ready, first_cta) the launch gap; [first_cta, first_data) ramp-up;
/// [first_data, drain) steady; [drain, end) tail. Counters are cumulative at each boundary.
struct KernelObservation {
    std::size_t kernel = 0;        ///< index in the trace
    Ps ready;                      ///< the previous kernel had completed (or the run began)
    Ps first_cta;                  ///< first CTA dispatched
    Ps first_data;                 ///< first tile landed in an SM (end if it loads nothing)
    Ps drain;                      ///< first SM with nothing left to start
    Ps end;                        ///< last CTA retired and its writes visible
    std::array<Counters, 5> at{};  ///< cumulative, at those five moments
};

/// What one stage of a ring held, from order to release, for sampled SMs.
struct TileObservation {
    int sm, slot, ring;
    Ps cta_began;
    std::int64_t use;  ///< of the ring, counted over the CTA's life
    std::array<int, 4> tile{};
    Ps issued;               ///< first load ordered
    Ps landed;               ///< last byte there
    Ps seen;                 ///< the first consumer's wait for it has returned
    Ps done;                 ///< that consumer gives it back
    bool registers = false;  ///< the ring lies in registers: plain loads, no pipeline through shared memory
};

/// A span on the timeline, for sampled SMs.
struct TimelineSpan {
    static constexpr int kLanesOfRing = 32;  ///< a ring has no more stages

    enum class Track : std::uint8_t { cta, tma, tensor, vector, wait };
    int sm;
    Track track;
    /// CTA slot, ring * kLanesOfRing + stage (from the first load ordered to the last byte landed), or warpgroup.
    int lane;
    std::uint32_t kernel;
    std::array<int, 4> tile{};  ///< work item coordinates
    Ps begin, end;
};

/// Per-part sums for the heat map and the conservation check.
struct PartTraffic {
    std::string name;  ///< the floorplan's node name
    std::uint64_t bytes_in = 0, bytes_out = 0, bytes_held = 0;
};

struct ChannelObservation {
    int stack, pseudo_channel;
    std::uint64_t read_bytes, write_bytes, row_hits, row_misses, row_conflicts, activates, refreshes;
    HbmTime time;
};

/// Latency of a chase, or of one load's route, itemised.
struct ChaseObservation {
    double mean_cycles = 0;  ///< per access, SM clock
    double p10_cycles = 0, p50_cycles = 0, p75_cycles = 0, p90_cycles = 0;
    std::uint64_t accesses = 0;
};

struct Observations {
    Ps end;  ///< when the last kernel completed
    std::vector<KernelObservation> kernels;
    Counters total;
    std::vector<ChannelObservation> channels;
    std::vector<PartTraffic> parts;
    std::vector<TimelineSpan> timeline;
    std::vector<TileObservation> tiles;
    ChaseObservation chase;
    std::uint64_t events = 0;       ///< messages processed by the parts
    std::uint64_t activations = 0;  ///< SystemC method activations
    std::uint64_t lines = 0;        ///< 128-byte lines delivered to SMs or written by them
};

}  // namespace memwall
