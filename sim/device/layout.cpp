#include "device/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace memwall::device {
namespace {

// Proportions of a die of 28.5 mm; another die scales them.
constexpr double kDie = 28.5;
constexpr double kPhyWidth = 0.8, kControllerWidth = 1.3, kSideWidth = 2.6;
constexpr double kGpcHeight = 9.35, kGpcMargin = 0.3, kGpcHeader = 0.95;
constexpr double kCrossbarHeight = 1.1, kSlicesHeight = 2.5, kLinkGap = 0.5;
constexpr double kStackWidth = 9.4, kStackGap = 1.5, kStackMargin = 0.45;
constexpr std::size_t kKinds = 8;

std::string name_of(NodeKind kind, int index) {
    static constexpr std::array<const char*, kKinds> kNames{"sm", "tpc", "gpc", "xbar", "slice", "mc", "phy", "hbm"};
    return kNames[static_cast<std::size_t>(kind)] + std::to_string(index);
}

}  // namespace

Layout::Layout(const Device& device) {
    number_sms(device);
    const int controllers = device.hbm.stacks * device.floorplan.controllers_per_stack;
    slices_per_controller = device.l2.slices / controllers;
    controller_stack.resize(static_cast<std::size_t>(controllers));
    const std::array<int, kKinds> counts{device.sms(),      static_cast<int>(tpc_gpc.size()),
                                         device.gpcs(),     2,
                                         device.l2.slices,  controllers,
                                         device.hbm.stacks, device.hbm.stacks};
    int total = 0;
    for (const int count : counts) {
        first_id.push_back(total);
        total += count;
    }
    nodes.resize(static_cast<std::size_t>(total));
    boxes.resize(static_cast<std::size_t>(total));
    place_gpcs(device);
    place_l2(device);
    place_memory(device);
}

void Layout::add(NodeKind kind, int index, int partition, const Box& box, double x, double y) {
    const auto at = static_cast<std::size_t>(id(kind, index));
    nodes[at] = {kind, index, name_of(kind, index), x, y, partition};
    boxes[at] = box;
}

// Ids are dealt as on the measured H100 PCIe (GPUNetBench, GPC 0 with 18 SMs beside six with 16 has 0,1,14,15,...,84,85
// and then 110-113): TPCs round-robin over the GPCs, but in the last round that all could take part in, the GPCs that
// have more TPCs wait, and all that they have left comes last.
void Layout::number_sms(const Device& device) {
    const FloorplanParams& f = device.floorplan;
    std::vector<int> left;
    for (const int sms : f.sms_per_gpc) left.push_back(sms / f.sms_per_tpc);
    const int common = std::ranges::min(left);
    gpc_tpcs_.resize(left.size());
    const auto deal = [&](std::size_t gpc) {
        gpc_tpcs_[gpc].push_back(static_cast<int>(tpc_gpc.size()));
        tpc_gpc.push_back(static_cast<int>(gpc));
        --left[gpc];
    };
    for (int round = 0; round + 1 < common; ++round) {
        for (std::size_t gpc = 0; gpc < left.size(); ++gpc) deal(gpc);
    }
    for (int size = 1; size <= std::ranges::max(f.sms_per_gpc); ++size) {  // what is left, smallest GPCs first
        for (std::size_t gpc = 0; gpc < left.size(); ++gpc) {
            if (f.sms_per_gpc[gpc] != size) continue;
            while (left[gpc] > 0) deal(gpc);
        }
    }
    const int tpcs_per_cpc = f.sms_per_cpc / f.sms_per_tpc;
    std::vector<int> tpc_cpc(tpc_gpc.size());
    int cpc = -1;
    for (const auto& tpcs : gpc_tpcs_) {
        for (std::size_t t = 0; t < tpcs.size(); ++t) {
            if (static_cast<int>(t) % tpcs_per_cpc == 0) ++cpc;
            tpc_cpc[static_cast<std::size_t>(tpcs[t])] = cpc;
        }
    }
    for (std::size_t tpc = 0; tpc < tpc_gpc.size(); ++tpc) {
        for (int i = 0; i < f.sms_per_tpc; ++i) {
            sm_tpc.push_back(static_cast<int>(tpc));
            sm_gpc.push_back(tpc_gpc[tpc]);
            sm_cpc.push_back(tpc_cpc[tpc]);
        }
    }
}

void Layout::place_gpcs(const Device& device) {
    const FloorplanParams& f = device.floorplan;
    const double sx = f.die_width_mm / kDie, sy = f.die_height_mm / kDie;
    for (const int half : {0, 1}) {
        const auto beside = std::ranges::count(f.gpc_partition, half);
        const double pitch = (f.die_width_mm - 2 * kSideWidth * sx) / static_cast<double>(beside);
        double x = kSideWidth * sx;
        const double y = half == 0 ? kGpcMargin * sy : f.die_height_mm - (kGpcMargin + kGpcHeight) * sy;
        for (int gpc = 0; gpc < device.gpcs(); ++gpc) {
            if (f.gpc_partition[static_cast<std::size_t>(gpc)] != half) continue;
            place_gpc(device, gpc, {x + 0.15 * sx, y, pitch - 0.3 * sx, kGpcHeight * sy}, half == 0);
            x += pitch;
        }
    }
}

/// TPCs of a CPC in a row; the GPC's router at the side of its crossbar, its name plate at the die's edge.
void Layout::place_gpc(const Device& device, int gpc, const Box& box, bool bottom) {
    const FloorplanParams& f = device.floorplan;
    const int half = f.gpc_partition[static_cast<std::size_t>(gpc)];
    add(NodeKind::gpc, gpc, half, box, box.mid_x(), bottom ? box.y + box.height : box.y);
    const int columns = f.sms_per_cpc / f.sms_per_tpc;
    const int places = std::max(columns, std::ranges::max(f.sms_per_gpc) / f.sms_per_tpc);
    const int rows = (places + columns - 1) / columns;
    const double header = kGpcHeader * f.die_height_mm / kDie, inset = 0.12;
    const double width = (box.width - 2 * inset) / columns, height = (box.height - header - inset) / rows;
    const auto& tpcs = gpc_tpcs_[static_cast<std::size_t>(gpc)];
    for (int place = 0; place < places; ++place) {
        const int row = place / columns;  // the first CPC is nearest to the crossbar
        const double x = box.x + inset + place % columns * width;
        const double y = bottom ? box.y + box.height - (row + 1) * height : box.y + row * height;
        const Box cell{x + 0.06, y + 0.1, width - 0.12, height - 0.2};
        if (place >= static_cast<int>(tpcs.size())) {
            unused_tpcs.push_back(cell);
            continue;
        }
        const int tpc = tpcs[static_cast<std::size_t>(place)];
        add(NodeKind::tpc, tpc, half, cell, cell.mid_x(), cell.mid_y());
        const double sm_height = (cell.height - 0.1) / f.sms_per_tpc;
        for (int i = 0; i < f.sms_per_tpc; ++i) {
            const Box sm{cell.x + 0.1, cell.y + 0.1 + i * sm_height, cell.width - 0.2, sm_height - 0.1};
            add(NodeKind::sm, tpc * f.sms_per_tpc + i, half, sm, sm.mid_x(), sm.mid_y());
        }
    }
}

/// Crossbar strips beside the GPCs, the slices between them, two rows for each partition, mirrored.
void Layout::place_l2(const Device& device) {
    const FloorplanParams& f = device.floorplan;
    const double sx = f.die_width_mm / kDie, sy = f.die_height_mm / kDie;
    const double x0 = kSideWidth * sx + 0.15 * sx, width = f.die_width_mm - 2 * x0;
    const double middle = f.die_height_mm / 2;
    const int per_half = device.l2.slices / 2;
    const int controllers = per_half / slices_per_controller;
    const int columns = controllers * ((slices_per_controller + 1) / 2);
    for (const int half : {0, 1}) {
        const double outward = half == 0 ? -1 : 1;
        const auto strip = [&](double from, double to, double x, double w) {  // distances from the middle line
            const double low = half == 0 ? middle - to : middle + from;
            return Box{x, low, w, to - from};
        };
        const double slices_from = kLinkGap * sy, slices_to = (kLinkGap + kSlicesHeight) * sy;
        const Box bar = strip(slices_to + 0.2 * sy, slices_to + (0.2 + kCrossbarHeight) * sy, x0, width);
        add(NodeKind::crossbar, half, half, bar, bar.mid_x(), bar.mid_y());
        const double cell = width / columns, row_height = (slices_to - slices_from) / 2;
        for (int k = 0; k < per_half; ++k) {
            const int in_group = k % slices_per_controller;
            const int column = k / slices_per_controller * ((slices_per_controller + 1) / 2) + in_group / 2;
            const double from = slices_from + (in_group % 2) * row_height;
            const Box box = strip(from + 0.04, from + row_height - 0.04, x0 + column * cell + 0.03, cell - 0.06);
            add(NodeKind::slice, half * per_half + k, half, box, box.mid_x(),
                middle + outward * (from + row_height / 2));
        }
    }
}

void Layout::place_memory(const Device& device) {
    const int left = (device.hbm.stacks + 1) / 2;
    place_side(device, true, left);
    place_side(device, false, left);
}

void Layout::place_side(const Device& device, bool at_left, int slots) {
    const FloorplanParams& f = device.floorplan;
    const double sx = f.die_width_mm / kDie, sy = f.die_height_mm / kDie;
    const int left = (device.hbm.stacks + 1) / 2, count = at_left ? left : device.hbm.stacks - left;
    const int per_stack = f.controllers_per_stack, per_side_half = count * per_stack / 2;
    const int per_half = device.hbm.stacks * per_stack / 2;
    const double slot = f.die_height_mm / slots;
    const auto across = [&](double from, double width) {  // distance from the die's edge, outward negative
        return at_left ? from : f.die_width_mm - from - width;
    };
    int stack = at_left ? 0 : left;
    for (int place = 0, controller = 0; place < slots; ++place) {
        const double y = place * slot;
        const Box body{across(-kStackGap - kStackWidth, kStackWidth), y + kStackMargin, kStackWidth,
                       slot - 2 * kStackMargin};
        if (count < slots && place == slots / 2) {
            spacers.push_back(body);
            continue;
        }
        add(NodeKind::stack, stack, -1, body, body.mid_x(), body.mid_y());
        const Box phy{across(0.15 * sx, kPhyWidth * sx), y + 0.35 * sy, kPhyWidth * sx, slot - 0.7 * sy};
        add(NodeKind::phy, stack, -1, phy, phy.mid_x(), phy.mid_y());
        for (int i = 0; i < per_stack; ++i, ++controller) {
            const double height = phy.height / per_stack;
            const Box box{across(1.1 * sx, kControllerWidth * sx), phy.y + i * height + 0.05, kControllerWidth * sx,
                          height - 0.1};
            // From the bottom up in partition 0, from the top down in partition 1: mirrored slices have mirrored wires.
            const int half = controller < per_side_half ? 0 : 1;
            const int rank = half == 0 ? controller : 2 * per_side_half - 1 - controller;
            const int number = half * per_half + (at_left ? 0 : left * per_stack / 2) + rank;
            add(NodeKind::controller, number, half, box, box.mid_x(), box.mid_y());
            controller_stack[static_cast<std::size_t>(number)] = stack;
        }
        ++stack;
    }
}

}  // namespace memwall::device
