#include "chip/wiring.h"

#include <algorithm>

namespace memwall::chip {

using device::NodeKind;

namespace {

/// Picoseconds that a port of `bytes_per_cycle` needs per byte.
double per_byte(const Clock& clock, double bytes_per_cycle) {
    return clock.period_ps() / bytes_per_cycle;
}

}  // namespace

Wiring::Wiring(const device::Device& d)
    : device(d), floorplan(d), map(d), sm_clock(d.sm_clock()), l2_clock(d.l2_clock()) {
    const int sms = d.sms();
    for (int sm = 0; sm < sms; ++sm) {
        sm_gpc.push_back(floorplan.gpc_of_sm(sm));
        sm_tpc.push_back(floorplan.tpc_of_sm(sm));
        sm_cpc.push_back(floorplan.cpc_of_sm(sm));
        sm_partition.push_back(floorplan.partition_of_sm(sm));
        const int crossbar = floorplan.id(NodeKind::crossbar, sm_partition.back());
        sm_to_crossbar_ps.push_back(floorplan.latency(floorplan.id(NodeKind::sm, sm), crossbar).count);
    }
    partition_slices.resize(2);
    for (int slice = 0; slice < d.l2.slices; ++slice) {
        const int partition = floorplan.partition_of_slice(slice);
        slice_partition.push_back(partition);
        slice_index.push_back(static_cast<int>(partition_slices[static_cast<std::size_t>(partition)].size()));
        partition_slices[static_cast<std::size_t>(partition)].push_back(slice);
    }
    for (int slice = 0; slice < d.l2.slices; ++slice) {
        const int node = floorplan.id(NodeKind::slice, slice);
        const int controller = floorplan.controller_of_slice(slice);
        const int home_stack = floorplan.stack_of_controller(controller);
        const int partition = slice_partition[static_cast<std::size_t>(slice)];
        slice_controller.push_back(controller);
        slice_stack.push_back(home_stack);
        crossbar_to_slice_ps.push_back(floorplan.latency(floorplan.id(NodeKind::crossbar, partition), node).count);
        link_ps.push_back(
            floorplan.latency(node, floorplan.id(NodeKind::slice, floorplan.mirror_of_slice(slice))).count);
        const int controller_node = floorplan.id(NodeKind::controller, controller);
        slice_to_controller_ps.push_back(floorplan.latency(node, controller_node).count);
        controller_to_stack_ps.push_back(
            floorplan.latency(controller_node, floorplan.id(NodeKind::stack, home_stack)).count);
    }
    const auto& f = d.floorplan;
    sm_port_up = per_byte(sm_clock, f.sm_tpc.bytes_per_cycle);
    sm_port_down = per_byte(sm_clock, f.sm_tpc.bytes_per_cycle_back);
    tpc_port_up = per_byte(sm_clock, f.tpc_gpc.bytes_per_cycle);
    tpc_port_down = per_byte(sm_clock, f.tpc_gpc.bytes_per_cycle_back);
    gpc_port_up = per_byte(sm_clock, f.gpc_crossbar.bytes_per_cycle);
    gpc_port_down = per_byte(sm_clock, f.gpc_crossbar.bytes_per_cycle_back);
    slice_port = per_byte(l2_clock, f.crossbar_slice.bytes_per_cycle_back);
    slice_port_write = per_byte(l2_clock, f.crossbar_slice.bytes_per_cycle);
    link = per_byte(l2_clock, f.partition_link_bytes_per_cycle_total);
    stack_down = per_byte(l2_clock, f.interposer_stack.bytes_per_cycle_back);
    stack_up = per_byte(l2_clock, f.interposer_stack.bytes_per_cycle);
}

std::int64_t Wiring::lookahead_ps() const {
    std::int64_t step = *std::min_element(sm_to_crossbar_ps.begin(), sm_to_crossbar_ps.end());
    step = std::min(step, *std::min_element(crossbar_to_slice_ps.begin(), crossbar_to_slice_ps.end()));
    step = std::min(step, *std::min_element(link_ps.begin(), link_ps.end()));
    for (std::size_t s = 0; s < slice_to_controller_ps.size(); ++s) {
        step = std::min(step, slice_to_controller_ps[s] + controller_to_stack_ps[s]);
    }
    return step;
}

std::int64_t atomic_latency_ps(const Wiring& w, int sm) {
    const auto index = static_cast<std::size_t>(sm);
    const auto slice = static_cast<std::size_t>(w.partition_slices[static_cast<std::size_t>(w.sm_partition[index])][0]);
    return w.sm_clock.span(w.device.sm.load_issue_cycles).count + w.sm_to_crossbar_ps[index] +
           w.crossbar_to_slice_ps[slice] + static_cast<std::int64_t>(w.device.l2.hit_ns * 1e3 / 2);
}

}  // namespace memwall::chip
