// What the floorplan says, as tables that the parts index: latencies of routes (shortest paths) and times per byte of
// ports. Computed once when the chip is built; an edge changed in the description changes these and nothing else.
#pragma once

#include <cstdint>
#include <vector>

#include "chip/address_map.h"
#include "chip/chunk.h"
#include "chip/part.h"
#include "device/device.h"
#include "device/floorplan.h"

namespace memwall::chip {

struct Wiring {
    explicit Wiring(const device::Device& device);

    const device::Device& device;
    device::Floorplan floorplan;
    AddressMap map;
    Clock sm_clock, l2_clock;

    // By SM.
    std::vector<int> sm_gpc, sm_cpc, sm_tpc, sm_partition;
    std::vector<std::int64_t> sm_to_crossbar_ps;  ///< to the crossbar of its own half
    // By slice (chip-wide number).
    std::vector<int> slice_partition, slice_index, slice_controller, slice_stack;
    std::vector<std::int64_t> crossbar_to_slice_ps, link_ps, slice_to_controller_ps, controller_to_stack_ps;
    std::vector<std::vector<int>> partition_slices;  ///< [partition][index] -> slice

    // Picoseconds per byte.
    double sm_port_up, sm_port_down, tpc_port_up, tpc_port_down, gpc_port_up, gpc_port_down, slice_port,
        slice_port_write, link, stack_up, stack_down;

    /// The largest step of the common grid for which no path between two parts is shorter.
    [[nodiscard]] std::int64_t lookahead_ps() const;
};

/// One way of an atomic operation of an SM on a counter in its half of L2: half of what a hit takes.
[[nodiscard]] std::int64_t atomic_latency_ps(const Wiring& wiring, int sm);

/// Pools and clocks that all parts of one chip share.
struct Shared {
    explicit Shared(const device::Device& device) : wiring(device), chunks(1 << 14) {}

    Wiring wiring;
    Grid grid;
    ChunkPool chunks;
};

}  // namespace memwall::chip
