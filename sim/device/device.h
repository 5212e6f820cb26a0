// A GPU as data: the typed, validated device description. Read once from JSON (see reader.h); no component reads JSON.
//
// Every field says its unit in its name and has an entry in the JSON with value, unit, kind (spec, measured, inferred,
// assumed) and source. The parameter structs stand in the order of the path of a byte.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "base/units.h"

namespace memwall::device {

/// Clock domains. The SM clock also drives the crossbar ports of the GPCs (bytes per SM clock at a GPC are the same on
/// products of different clocks); L2 slices and the memory have clocks of their own.
struct ClockParams {
    double sm_mhz;       ///< SM clock for latency- and bandwidth-bound work (the maximum boost)
    double sm_peak_mhz;  ///< the maximum boost of work that tensor cores bound: behind the vendor's printed peak
    double l2_mhz;       ///< clock of the L2 slices
};

/// What it takes to start work.
struct LaunchParams {
    double stream_gap_us;      ///< end of one kernel to the first CTA dispatch of the next, launched one by one
    double graph_gap_us;       ///< the same inside a CUDA graph
    double pdl_gap_us;         ///< completion of the previous kernel to the release of griddepcontrol.wait
    double megakernel_gap_us;  ///< a grid-wide barrier inside one persistent kernel
    double host_launch_us;     ///< interval at which the host can enqueue kernels on a stream
    double first_launch_us;    ///< the host's call to the first CTA dispatch of the first kernel (not in kernel time)
    double ctas_per_cycle;     ///< dispatch rate of the CTA scheduler, whole chip, per SM clock
    double cta_start_cycles;   ///< dispatch to the first instruction of the CTA (registers, barriers set up)
    double cta_exit_cycles;    ///< last instruction to the slot being free again at the scheduler
};

/// One streaming multiprocessor.
struct SmParams {
    int max_threads;
    int max_warps;
    int max_ctas;
    int registers;                 ///< 32-bit registers
    int register_allocation_unit;  ///< registers, per warp
    int smem_bytes;                ///< shared memory at the largest carve-out
    int smem_per_cta_max_bytes;
    int smem_reserved_per_cta_bytes;
    int smem_allocation_unit_bytes;
    int l1_bytes;  ///< L1 and shared memory together
    double l1_latency_cycles;
    double smem_latency_cycles;
    double smem_bytes_per_cycle;  ///< shared by TMA writes, tensor-core operand reads and the threads
    double fp32_ops_per_cycle;    ///< lanes
    double sfu_ops_per_cycle;
    double load_issue_cycles;           ///< plain load: issue, address path and L1 miss, before the SM's port
    double load_return_cycles;          ///< plain load: from the SM's port to the register
    double lsu_bytes_per_cycle;         ///< plain loads and stores leave the SM at this rate
    double async_copy_bytes_per_cycle;  ///< threads' asynchronous copies are written into shared memory at this rate
    int load_bytes_in_flight;           ///< plain loads that may be outstanding
    int store_bytes_in_flight;
    double barrier_wait_cycles;  ///< mbarrier completion to the waiting warp's next instruction
    double barrier_arrive_cycles;
    double cta_barrier_cycles;
    double cluster_barrier_cycles;  ///< last arrival to release: half to the SM of the first CTA, half back
};

/// The bulk copy engine of one SM.
struct TmaParams {
    double issue_cycles;            ///< the issuing thread, per command
    double command_cycles;          ///< the engine's front end, per command
    double latency_cycles;          ///< command to first request, beyond what a plain load takes
    double descriptor_miss_cycles;  ///< first use of a tensor map by this SM
    double cycles_per_request;      ///< address generation, per 128-byte request
    int requests_in_flight;         ///< 128-byte requests
    double multicast_extra_cycles;
};

/// Tensor cores of one SM, dense rates.
struct TensorParams {
    double flops_per_cycle_16bit;
    double flops_per_cycle_fp8;
    double flops_per_cycle_tf32;
    double issue_cycles;  ///< of one wgmma
    double drain_cycles;  ///< last wgmma issued to its result being readable, beyond its own duration
};

/// SM-to-L2 network. Latency and width of the wires are the floorplan's; this is what the switches add.
struct CrossbarParams {
    double request_bytes;            ///< size of a read request (and of a write's header) on the request network
    int coalescer_entries;           ///< per CPC: requests in flight that later requests of other SMs can join; 0: none
    double cluster_latency_cycles;   ///< one way between two SMs of a cluster
    double cluster_bytes_per_cycle;  ///< per SM and direction
};

struct L2Params {
    int slices;  ///< of the chip, over both partitions
    int slice_bytes;
    int ways;
    int line_bytes;
    int sector_bytes;
    int fill_bytes;           ///< granule of a read from memory
    int interleave_bytes;     ///< consecutive bytes in one slice: no request crosses it
    std::uint64_t home_mask;  ///< the parity of these address bits names the home partition
    double hit_ns;            ///< slice: tag and data pipeline of a hit
    double miss_ns;           ///< slice: a miss's way to the memory controller's queue
    double fill_ns;           ///< slice: from the controller's data to the response
    double fill_replay_ns;    ///< a request from the other partition waits for the fill to be written, then is replayed
    double lines_per_cycle;   ///< tag look-ups per slice and L2 clock
    int requests_per_slice;   ///< lines that may be waiting or in service in a slice
    std::string replacement;  ///< "lru", "random"
};

struct InterposerParams {
    std::string phy_note;  ///< latency and width are the floorplan's
};

/// One HBM generation: organisation and timing of a pseudo-channel.
struct HbmParams {
    std::string standard;
    int stacks;
    int channels_per_stack;
    int pseudo_channels_per_channel;
    int sids;
    int bank_groups;
    /// Consecutive bursts alternate between banks of so many groups, whose rows are opened and closed together: a gang.
    /// 1: they stay in one bank.
    int run_bank_groups = 1;
    int banks_per_group;
    int rows;
    int page_bytes;
    int burst_bytes;                      ///< bytes of one column access of a pseudo-channel
    int pseudo_channel_interleave_bytes;  ///< inside a slice's granule: consecutive bytes in one pseudo-channel
    double data_rate_gbps;                ///< per pin
    int transfers_per_clock;              ///< of a pin in a command clock: 4 of HBM3 (JESD238), 2 of HBM2 (JESD235)
    int pseudo_channel_bits;
    // Timing in ns (rounded up to command clocks); spacings of bursts in command clocks.
    double tcl_ns, tcwl_ns, trcdrd_ns, trcdwr_ns, trp_ns, tras_ns, trc_ns, twr_ns, trtp_ns;
    int nbl, nccds, nccdl, nccdr;
    double trrds_ns, trrdl_ns, tfaw_ns, twtrs_ns, twtrl_ns, trtw_ns;
    std::string refresh;  ///< "per_bank", "all_bank", "none"
    double trefi_ns, trfcpb_ns, trfcab_ns;
    int refresh_postpone_max;  ///< refresh commands that may be owed
    double controller_ns;      ///< arrival at the controller to eligibility for scheduling
    int read_queue_entries;    ///< of 64 bytes, per pseudo-channel
    int write_queue_entries;
    int write_high_watermark;    ///< entries at which a write batch begins
    int write_low_watermark;     ///< entries at which it ends, while reads wait
    double write_idle_drain_ns;  ///< without reads for this long, waiting writes are drained
    std::string page_policy;     ///< "open", "closed"
    std::string bank_map;        ///< "hashed" (row bits XORed into bank and bank group) or "linear"

    /// Command clocks between the bursts of a run: of one bank group ccdl, less where a run alternates between groups.
    [[nodiscard]] int run_pitch() const { return std::max(nccds, (nccdl + run_bank_groups - 1) / run_bank_groups); }
    /// Bytes that lie in the rows of one gang.
    [[nodiscard]] int gang_page_bytes() const { return page_bytes * run_bank_groups; }
    [[nodiscard]] double command_mhz() const { return data_rate_gbps * 1000.0 / transfers_per_clock; }
    [[nodiscard]] int pseudo_channels() const { return stacks * channels_per_stack * pseudo_channels_per_channel; }
    [[nodiscard]] double pseudo_channel_gbps() const { return data_rate_gbps * pseudo_channel_bits / 8.0; }
    [[nodiscard]] double peak_gbps() const { return pseudo_channel_gbps() * pseudo_channels(); }
    /// Bytes of all stacks.
    [[nodiscard]] double capacity_bytes() const {
        return static_cast<double>(pseudo_channels()) * sids * bank_groups * banks_per_group * rows * page_bytes;
    }
};

/// Energy per event and the board's limits. Energies of the die hold at the voltage of `reference_mhz`; at another
/// clock they follow the square of its voltage.
struct PowerParams {
    double board_limit_w;           ///< of the power averaged over time, as a low-pass filter averages
    double peak_limit_w;            ///< at any moment; the board's where that is more
    double limit_time_constant_ms;  ///< of that filter
    double idle_w;                  ///< clocks running, no work
    double reference_mhz;           ///< SM clock at which the energies were had
    double voltage_slope;   ///< relative change of the voltage for a relative change of the clock, from the reference
    double clock_step_mhz;  ///< the clock under the limit is a multiple of it
    double hbm_pj_per_bit;  ///< DRAM, interposer and controller: not of the die's voltage
    double l2_pj_per_bit;
    double crossbar_pj_per_bit;
    double link_pj_per_bit;  ///< from one half of the L2 to the other
    double smem_pj_per_bit;
    double tensor_pj_per_flop_bf16;
    double tensor_pj_per_flop_fp16;
    double tensor_pj_per_flop_8bit;
    double fp32_pj_per_flop;
    double sfu_pj_per_op;  ///< an exponential, a reciprocal, with its registers
};

/// One kind of floorplan edge: fixed latency (in SM cycles and in ns: the parts on either side of a clock crossing),
/// plus wire, and a width.
struct EdgeParams {
    double latency_cycles;        ///< SM clock
    double latency_ns;            ///< fixed
    double bytes_per_cycle;       ///< SM cycles, beyond the crossbar L2 cycles; each direction: towards memory
    double bytes_per_cycle_back;  ///< towards the SM
};

/// A single edge that differs from its kind, by the names of its ends in the graph.
struct EdgeOverride {
    std::string from, to;
    EdgeParams edge;
};

/// The die and the package. Positions are in millimetres from the die's lower left corner.
struct FloorplanParams {
    double die_width_mm, die_height_mm;
    std::vector<int> sms_per_gpc;
    std::vector<int> gpc_partition;  ///< the L2 half beside each GPC: 0 or 1
    int sms_per_tpc;
    int sms_per_cpc;
    int controllers_per_stack;  ///< even: half of a die side's controllers belong to either L2 half
    double wire_ps_per_mm;
    EdgeParams sm_tpc, tpc_gpc, gpc_crossbar, crossbar_slice, partition_link, slice_controller, controller_interposer,
        interposer_stack;
    double partition_link_bytes_per_cycle_total;  ///< whole link, each direction, L2 cycles
    std::vector<EdgeOverride> overrides;
};

struct Device {
    std::string name;
    std::string description;
    ClockParams clocks;
    LaunchParams launch;
    SmParams sm;
    TmaParams tma;
    TensorParams tensor;
    CrossbarParams crossbar;
    L2Params l2;
    InterposerParams interposer;
    HbmParams hbm;
    PowerParams power;
    FloorplanParams floorplan;

    [[nodiscard]] int sms() const;
    [[nodiscard]] int gpcs() const { return static_cast<int>(floorplan.sms_per_gpc.size()); }
    [[nodiscard]] Clock sm_clock() const { return Clock(clocks.sm_mhz); }
    [[nodiscard]] Clock l2_clock() const { return Clock(clocks.l2_mhz); }
};

}  // namespace memwall::device
