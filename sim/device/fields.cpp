#include "device/fields.h"

#include <limits>

namespace memwall::device {
namespace {

// Ranges are wide: they catch a wrong unit or a lost digit, and leave every what-if.
constexpr double kMostCycles = 1e5, kMostNs = 1e4, kMostWidth = 1e6, kLeastWidth = 0.01, kMostCount = 1e6;
constexpr const char *kPerSmCycle = "bytes per SM cycle", *kPerL2Cycle = "bytes per L2 cycle";

class Table {
public:
    void number(std::string pointer, std::string unit, double& target, double lowest, double highest) {
        fields.push_back({std::move(pointer), std::move(unit), &target, lowest, highest, {}});
    }
    void cycles(std::string pointer, double& target) { number(std::move(pointer), "cycles", target, 0, kMostCycles); }
    void ns(std::string pointer, double& target) { number(std::move(pointer), "ns", target, 0, kMostNs); }
    void us(std::string pointer, double& target) { number(std::move(pointer), "us", target, 0, 1000); }
    void mhz(std::string pointer, double& target) { number(std::move(pointer), "MHz", target, 100, 10000); }
    void width(std::string pointer, double& target, const char* unit = kPerSmCycle) {
        number(std::move(pointer), unit, target, kLeastWidth, kMostWidth);
    }
    void energy(std::string pointer, std::string unit, double& target) {
        number(std::move(pointer), std::move(unit), target, 0, 1000);
    }
    void whole(std::string pointer, std::string unit, int& target, int lowest, double highest) {
        fields.push_back({std::move(pointer), std::move(unit), &target, static_cast<double>(lowest), highest, {}});
    }
    void count(std::string pointer, int& target, int lowest = 1, double highest = kMostCount) {
        whole(std::move(pointer), "count", target, lowest, highest);
    }
    void bytes(std::string pointer, int& target, int lowest = 1) {
        whole(std::move(pointer), "bytes", target, lowest, 1 << 30);
    }
    void text(std::string pointer, std::string& target, std::vector<std::string> choices) {
        fields.push_back({std::move(pointer), "name", &target, 0, 0, std::move(choices)});
    }

    std::vector<Field> fields;
};

void launch_fields(Table& t, Device& d) {
    t.mhz("/clocks/sm_mhz", d.clocks.sm_mhz);
    t.mhz("/clocks/sm_peak_mhz", d.clocks.sm_peak_mhz);
    t.mhz("/clocks/l2_mhz", d.clocks.l2_mhz);
    t.us("/launch/stream_gap_us", d.launch.stream_gap_us);
    t.us("/launch/graph_gap_us", d.launch.graph_gap_us);
    t.us("/launch/pdl_gap_us", d.launch.pdl_gap_us);
    t.us("/launch/megakernel_gap_us", d.launch.megakernel_gap_us);
    t.us("/launch/host_launch_us", d.launch.host_launch_us);
    t.us("/launch/first_launch_us", d.launch.first_launch_us);
    t.number("/launch/ctas_per_cycle", "CTAs per SM cycle", d.launch.ctas_per_cycle, 0.001, 1000);
    t.cycles("/launch/cta_start_cycles", d.launch.cta_start_cycles);
    t.cycles("/launch/cta_exit_cycles", d.launch.cta_exit_cycles);
}

void sm_fields(Table& t, SmParams& sm) {
    t.count("/sm/max_threads", sm.max_threads, 1, 4096);
    t.count("/sm/max_warps", sm.max_warps, 1, 128);
    t.count("/sm/max_ctas", sm.max_ctas, 1, 128);
    t.count("/sm/registers", sm.registers, 1, 1 << 20);
    t.count("/sm/register_allocation_unit", sm.register_allocation_unit, 1, 65536);
    t.bytes("/sm/smem_bytes", sm.smem_bytes);
    t.bytes("/sm/smem_per_cta_max_bytes", sm.smem_per_cta_max_bytes);
    t.bytes("/sm/smem_reserved_per_cta_bytes", sm.smem_reserved_per_cta_bytes, 0);
    t.bytes("/sm/smem_allocation_unit_bytes", sm.smem_allocation_unit_bytes);
    t.bytes("/sm/l1_bytes", sm.l1_bytes);
    t.cycles("/sm/l1_latency_cycles", sm.l1_latency_cycles);
    t.cycles("/sm/smem_latency_cycles", sm.smem_latency_cycles);
    t.width("/sm/smem_bytes_per_cycle", sm.smem_bytes_per_cycle);
    t.number("/sm/fp32_ops_per_cycle", "lanes", sm.fp32_ops_per_cycle, 1, 4096);
    t.number("/sm/sfu_ops_per_cycle", "lanes", sm.sfu_ops_per_cycle, 1, 4096);
    t.cycles("/sm/load_issue_cycles", sm.load_issue_cycles);
    t.cycles("/sm/load_return_cycles", sm.load_return_cycles);
    t.width("/sm/lsu_bytes_per_cycle", sm.lsu_bytes_per_cycle);
    t.width("/sm/async_copy_bytes_per_cycle", sm.async_copy_bytes_per_cycle);
    t.bytes("/sm/load_bytes_in_flight", sm.load_bytes_in_flight, 128);
    t.bytes("/sm/store_bytes_in_flight", sm.store_bytes_in_flight, 128);
    t.cycles("/sm/barrier_wait_cycles", sm.barrier_wait_cycles);
    t.cycles("/sm/barrier_arrive_cycles", sm.barrier_arrive_cycles);
    t.cycles("/sm/cta_barrier_cycles", sm.cta_barrier_cycles);
    t.cycles("/sm/cluster_barrier_cycles", sm.cluster_barrier_cycles);
}

void engine_fields(Table& t, Device& d) {
    t.cycles("/tma/issue_cycles", d.tma.issue_cycles);
    t.cycles("/tma/command_cycles", d.tma.command_cycles);
    t.cycles("/tma/latency_cycles", d.tma.latency_cycles);
    t.cycles("/tma/descriptor_miss_cycles", d.tma.descriptor_miss_cycles);
    t.cycles("/tma/cycles_per_request", d.tma.cycles_per_request);
    t.count("/tma/requests_in_flight", d.tma.requests_in_flight, 1, 65536);
    t.cycles("/tma/multicast_extra_cycles", d.tma.multicast_extra_cycles);
    t.number("/tensor/flops_per_cycle_16bit", "FLOP per SM cycle", d.tensor.flops_per_cycle_16bit, 1, 1e6);
    t.number("/tensor/flops_per_cycle_fp8", "FLOP per SM cycle", d.tensor.flops_per_cycle_fp8, 1, 1e6);
    t.number("/tensor/flops_per_cycle_tf32", "FLOP per SM cycle", d.tensor.flops_per_cycle_tf32, 1, 1e6);
    t.cycles("/tensor/issue_cycles", d.tensor.issue_cycles);
    t.cycles("/tensor/drain_cycles", d.tensor.drain_cycles);
    t.number("/crossbar/request_bytes", "bytes", d.crossbar.request_bytes, 1, 128);
    t.count("/crossbar/coalescer_entries", d.crossbar.coalescer_entries, 0);
    t.cycles("/crossbar/cluster_latency_cycles", d.crossbar.cluster_latency_cycles);
    t.width("/crossbar/cluster_bytes_per_cycle", d.crossbar.cluster_bytes_per_cycle);
}

void l2_fields(Table& t, Device& d) {
    L2Params& l2 = d.l2;
    t.count("/l2/slices", l2.slices, 2, 4096);
    t.bytes("/l2/slice_bytes", l2.slice_bytes, 1024);
    t.count("/l2/ways", l2.ways, 1, 16);
    t.bytes("/l2/line_bytes", l2.line_bytes, 32);
    t.bytes("/l2/sector_bytes", l2.sector_bytes, 8);
    t.bytes("/l2/fill_bytes", l2.fill_bytes, 8);
    t.bytes("/l2/interleave_bytes", l2.interleave_bytes, 32);
    t.fields.push_back({"/l2/home_mask",
                        "address bits",
                        &l2.home_mask,
                        1,
                        static_cast<double>(std::numeric_limits<std::int64_t>::max()),
                        {}});
    t.ns("/l2/hit_ns", l2.hit_ns);
    t.ns("/l2/miss_ns", l2.miss_ns);
    t.ns("/l2/fill_ns", l2.fill_ns);
    t.ns("/l2/fill_replay_ns", l2.fill_replay_ns);
    t.number("/l2/lines_per_cycle", "lines per L2 cycle", l2.lines_per_cycle, 0.01, 64);
    t.count("/l2/requests_per_slice", l2.requests_per_slice, 8, 65536);
    t.text("/l2/replacement", l2.replacement, {"lru", "random"});
    t.text("/interposer/phy_note", d.interposer.phy_note, {});
}

void hbm_timing_fields(Table& t, HbmParams& h) {
    const std::pair<const char*, double*> spans[] = {
        {"tcl_ns", &h.tcl_ns},     {"tcwl_ns", &h.tcwl_ns},   {"trcdrd_ns", &h.trcdrd_ns}, {"trcdwr_ns", &h.trcdwr_ns},
        {"trp_ns", &h.trp_ns},     {"tras_ns", &h.tras_ns},   {"trc_ns", &h.trc_ns},       {"twr_ns", &h.twr_ns},
        {"trtp_ns", &h.trtp_ns},   {"trrds_ns", &h.trrds_ns}, {"trrdl_ns", &h.trrdl_ns},   {"tfaw_ns", &h.tfaw_ns},
        {"twtrs_ns", &h.twtrs_ns}, {"twtrl_ns", &h.twtrl_ns}, {"trtw_ns", &h.trtw_ns}};
    for (const auto& [name, target] : spans) t.number(std::string("/hbm/") + name, "ns", *target, 0, 1000);
    const std::pair<const char*, int*> clocks[] = {
        {"nbl", &h.nbl}, {"nccds", &h.nccds}, {"nccdl", &h.nccdl}, {"nccdr", &h.nccdr}};
    for (const auto& [name, target] : clocks) t.whole(std::string("/hbm/") + name, "command clocks", *target, 1, 64);
}

void hbm_fields(Table& t, HbmParams& h) {
    t.text("/hbm/standard", h.standard, {"HBM2", "HBM2e", "HBM3", "HBM3e"});
    t.count("/hbm/stacks", h.stacks, 1, 64);
    t.count("/hbm/channels_per_stack", h.channels_per_stack, 1, 64);
    t.count("/hbm/pseudo_channels_per_channel", h.pseudo_channels_per_channel, 1, 4);
    t.count("/hbm/sids", h.sids, 1, 8);
    t.count("/hbm/bank_groups", h.bank_groups, 1, 16);
    t.count("/hbm/run_bank_groups", h.run_bank_groups, 1, 16);
    t.count("/hbm/banks_per_group", h.banks_per_group, 1, 16);
    t.count("/hbm/rows", h.rows, 1, 1 << 24);
    t.bytes("/hbm/page_bytes", h.page_bytes, 64);
    t.bytes("/hbm/burst_bytes", h.burst_bytes, 8);
    t.bytes("/hbm/pseudo_channel_interleave_bytes", h.pseudo_channel_interleave_bytes, 8);
    t.number("/hbm/data_rate_gbps", "Gb/s per pin", h.data_rate_gbps, 0.1, 100);
    t.count("/hbm/transfers_per_clock", h.transfers_per_clock, 1, 16);
    t.whole("/hbm/pseudo_channel_bits", "pins", h.pseudo_channel_bits, 8, 1024);
    hbm_timing_fields(t, h);
    t.text("/hbm/refresh", h.refresh, {"per_bank", "all_bank", "none"});
    t.number("/hbm/trefi_ns", "ns", h.trefi_ns, 100, 1e6);
    t.number("/hbm/trfcpb_ns", "ns", h.trfcpb_ns, 0, 1e5);
    t.number("/hbm/trfcab_ns", "ns", h.trfcab_ns, 0, 1e5);
    t.count("/hbm/refresh_postpone_max", h.refresh_postpone_max, 0, 64);
    t.ns("/hbm/controller_ns", h.controller_ns);
    t.count("/hbm/read_queue_entries", h.read_queue_entries, 1, 65536);
    t.count("/hbm/write_queue_entries", h.write_queue_entries, 1, 65536);
    t.count("/hbm/write_high_watermark", h.write_high_watermark, 1, 65536);
    t.count("/hbm/write_low_watermark", h.write_low_watermark, 0, 65536);
    t.ns("/hbm/write_idle_drain_ns", h.write_idle_drain_ns);
    t.text("/hbm/page_policy", h.page_policy, {"open", "closed"});
    t.text("/hbm/bank_map", h.bank_map, {"hashed", "linear"});
}

void power_fields(Table& t, PowerParams& p) {
    t.number("/power/board_limit_w", "W", p.board_limit_w, 1, 1e5);
    t.number("/power/peak_limit_w", "W", p.peak_limit_w, 1, 1e5);
    t.number("/power/limit_time_constant_ms", "ms", p.limit_time_constant_ms, 0, 1e5);
    t.number("/power/idle_w", "W", p.idle_w, 0, 1e5);
    t.number("/power/reference_mhz", "MHz", p.reference_mhz, 1, 1e5);
    t.number("/power/voltage_slope", "ratio", p.voltage_slope, 0, 2);
    t.number("/power/clock_step_mhz", "MHz", p.clock_step_mhz, 0.1, 1000);
    t.energy("/power/hbm_pj_per_bit", "pJ per bit", p.hbm_pj_per_bit);
    t.energy("/power/l2_pj_per_bit", "pJ per bit", p.l2_pj_per_bit);
    t.energy("/power/crossbar_pj_per_bit", "pJ per bit", p.crossbar_pj_per_bit);
    t.energy("/power/link_pj_per_bit", "pJ per bit", p.link_pj_per_bit);
    t.energy("/power/smem_pj_per_bit", "pJ per bit", p.smem_pj_per_bit);
    t.energy("/power/tensor_pj_per_flop_bf16", "pJ per FLOP", p.tensor_pj_per_flop_bf16);
    t.energy("/power/tensor_pj_per_flop_fp16", "pJ per FLOP", p.tensor_pj_per_flop_fp16);
    t.energy("/power/tensor_pj_per_flop_8bit", "pJ per FLOP", p.tensor_pj_per_flop_8bit);
    t.energy("/power/fp32_pj_per_flop", "pJ per FLOP", p.fp32_pj_per_flop);
    t.energy("/power/sfu_pj_per_op", "pJ per operation", p.sfu_pj_per_op);
}

void floorplan_fields(Table& t, FloorplanParams& f) {
    t.number("/floorplan/die_width_mm", "mm", f.die_width_mm, 1, 1000);
    t.number("/floorplan/die_height_mm", "mm", f.die_height_mm, 1, 1000);
    t.fields.push_back({"/floorplan/sms_per_gpc", "count", &f.sms_per_gpc, 1, 256, {}});
    t.fields.push_back({"/floorplan/gpc_partition", "partition", &f.gpc_partition, 0, 1, {}});
    t.count("/floorplan/sms_per_tpc", f.sms_per_tpc, 1, 16);
    t.count("/floorplan/sms_per_cpc", f.sms_per_cpc, 1, 64);
    t.count("/floorplan/controllers_per_stack", f.controllers_per_stack, 2, 16);
    t.number("/floorplan/wire_ps_per_mm", "ps per mm", f.wire_ps_per_mm, 0, 10000);
    struct Kind {
        const char* name;
        EdgeParams* edge;
        const char* unit;  // of its widths: beyond the crossbar the SM clock has no say
    };
    const Kind kinds[] = {{"sm_tpc", &f.sm_tpc, kPerSmCycle},
                          {"tpc_gpc", &f.tpc_gpc, kPerSmCycle},
                          {"gpc_crossbar", &f.gpc_crossbar, kPerSmCycle},
                          {"crossbar_slice", &f.crossbar_slice, kPerL2Cycle},
                          {"partition_link", &f.partition_link, kPerL2Cycle},
                          {"slice_controller", &f.slice_controller, kPerL2Cycle},
                          {"controller_interposer", &f.controller_interposer, kPerL2Cycle},
                          {"interposer_stack", &f.interposer_stack, kPerL2Cycle}};
    for (const auto& [name, edge, unit] : kinds) {
        const std::string at = std::string("/floorplan/") + name;
        t.cycles(at + "/latency_cycles", edge->latency_cycles);
        t.ns(at + "/latency_ns", edge->latency_ns);
        t.width(at + "/bytes_per_cycle", edge->bytes_per_cycle, unit);
        t.width(at + "/bytes_per_cycle_back", edge->bytes_per_cycle_back, unit);
    }
    t.width("/floorplan/partition_link_bytes_per_cycle_total", f.partition_link_bytes_per_cycle_total, kPerL2Cycle);
    t.fields.push_back({"/floorplan/overrides", "edges", &f.overrides, 0, 0, {}});
}

}  // namespace

std::vector<Field> fields_of(Device& d) {
    Table table;
    launch_fields(table, d);
    sm_fields(table, d.sm);
    engine_fields(table, d);
    l2_fields(table, d);
    hbm_fields(table, d.hbm);
    power_fields(table, d.power);
    floorplan_fields(table, d.floorplan);
    return std::move(table.fields);
}

}  // namespace memwall::device
