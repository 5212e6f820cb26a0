// The chip and its package as one property graph (Boost.Graph): where each part lies, and what a byte pays to pass from
// one to the next. Latencies of routes are shortest paths over it, limits are max-flows; the model is elaborated from
// it.
//
// Vertices: sm<i>, tpc<i>, gpc<i>, xbar0/xbar1 (the two halves of the crossbar), slice<i>, mc<i> (memory controllers),
// phy<i> (one interposer link per stack), hbm<i>. SM ids are dealt as on the measured card: TPC pairs round-robin over
// the GPCs, left-over TPCs of larger GPCs last.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "device/device.h"

namespace memwall::device {

enum class NodeKind { sm, tpc, gpc, crossbar, slice, controller, phy, stack };
enum class EdgeKind {
    sm_tpc,
    tpc_gpc,
    gpc_crossbar,
    crossbar_slice,
    partition_link,
    slice_controller,
    controller_interposer,
    interposer_stack
};

struct Node {
    NodeKind kind;
    int index;  ///< within its kind
    std::string name;
    double x_mm, y_mm;  ///< centre
    int partition;      ///< 0, 1; -1 where it has none
};

/// One physical connection; both directions have the same latency.
struct Edge {
    EdgeKind kind;
    Ps latency;
    double length_mm;
    double bytes_per_cycle;       ///< SM cycles, towards memory
    double bytes_per_cycle_back;  ///< towards the SM
};

struct Hop {
    int from, to;  ///< node ids
    Edge edge;
};

class Floorplan {
public:
    explicit Floorplan(const Device& device);
    Floorplan(Floorplan&&) noexcept;
    Floorplan& operator=(Floorplan&&) noexcept;
    ~Floorplan();

    [[nodiscard]] const std::vector<Node>& nodes() const;
    [[nodiscard]] const std::vector<Hop>& edges() const;
    /// Node id by name; -1 when there is none.
    [[nodiscard]] int find(std::string_view name) const;
    [[nodiscard]] int id(NodeKind kind, int index) const;

    [[nodiscard]] int gpc_of_sm(int sm) const;
    [[nodiscard]] int tpc_of_sm(int sm) const;
    [[nodiscard]] int cpc_of_sm(int sm) const;        ///< index within the chip
    [[nodiscard]] int partition_of_sm(int sm) const;  ///< the L2 half that it reads
    [[nodiscard]] int partition_of_slice(int slice) const;
    [[nodiscard]] int stack_of_controller(int controller) const;
    [[nodiscard]] int controller_of_slice(int slice) const;
    /// The slice of the other partition at the far end of this one's link.
    [[nodiscard]] int mirror_of_slice(int slice) const;

    /// The shortest route by latency, hop by hop; empty when unreachable. The near route from an SM passes its own
    /// half. Routes lead towards memory or back, over the link between the halves where they must; none turns around at
    /// a memory controller, so a slow link is not cut short through a PHY that serves both halves.
    [[nodiscard]] std::vector<Hop> route(int from, int to) const;
    /// Sum of latencies along the shortest route; kNever when there is none. Routes are kept: asking again is cheap.
    [[nodiscard]] Ps latency(int from, int to) const;
    /// Largest flow from a set of nodes to another, bytes per SM cycle: towards memory (SMs to slices, say), or with
    /// `towards_sm` from the memory side to the SMs, each with its direction's widths.
    [[nodiscard]] double max_flow(const std::vector<int>& sources, const std::vector<int>& sinks,
                                  bool towards_sm) const;
    /// Smallest edge latency among edges of the given kinds (the model's lookahead).
    [[nodiscard]] Ps min_latency(const std::vector<EdgeKind>& kinds) const;

    /// Graphviz source of the whole graph.
    [[nodiscard]] std::string to_dot() const;
    /// A drawing of the die and package. `heat` (by node id, 0 to 1, may be empty) colours the parts by traffic.
    [[nodiscard]] std::string to_svg(const std::vector<double>& heat = {}) const;

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace memwall::device
