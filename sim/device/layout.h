// Where each part of the chip lies, in millimetres, and which part belongs to which. The published facts are the
// counts, the die area, the two L2 partitions and the memory on either side; the arrangement is a plausible one:
//
//      stacks | PHY, controllers |  GPCs of partition 1   | controllers, PHY | stacks
//      left   |                  |  crossbar, L2 slices 1 |                  | right
//             |                  |  crossbar, L2 slices 0 |                  |
//             |                  |  GPCs of partition 0   |                  |
//
// The lower half of either side's controllers belongs to partition 0: with three stacks at a side, the middle one
// serves both partitions.
#pragma once

#include <vector>

#include "device/device.h"
#include "device/floorplan.h"

namespace memwall::device {

/// A rectangle, from its lower left corner.
struct Box {
    double x, y, width, height;

    [[nodiscard]] double mid_x() const { return x + width / 2; }
    [[nodiscard]] double mid_y() const { return y + height / 2; }
};

struct Layout {
    explicit Layout(const Device& device);

    std::vector<Node> nodes;
    std::vector<Box> boxes;        ///< by node id
    std::vector<int> first_id;     ///< by NodeKind: id of its index 0
    std::vector<Box> unused_tpcs;  ///< places of TPCs that larger GPCs have and this one has not
    std::vector<Box> spacers;      ///< places beside the die that hold no stack
    std::vector<int> sm_tpc, sm_gpc, sm_cpc;
    std::vector<int> tpc_gpc;
    std::vector<int> controller_stack;
    int slices_per_controller = 0;

    [[nodiscard]] int id(NodeKind kind, int index) const { return first_id[static_cast<std::size_t>(kind)] + index; }

private:
    void number_sms(const Device& device);
    void place_gpcs(const Device& device);
    void place_gpc(const Device& device, int gpc, const Box& box, bool bottom);
    void place_l2(const Device& device);
    void place_memory(const Device& device);
    void place_side(const Device& device, bool left, int slots);
    void add(NodeKind kind, int index, int partition, const Box& box, double x, double y);

    std::vector<std::vector<int>> gpc_tpcs_;  // by GPC: its TPC numbers
};

}  // namespace memwall::device
