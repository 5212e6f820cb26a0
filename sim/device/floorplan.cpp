#include "device/floorplan.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/dijkstra_shortest_paths.hpp>
#include <cmath>
#include <unordered_map>

#include "base/error.h"
#include "base/json_reader.h"
#include "device/drawing.h"
#include "device/flow.h"
#include "device/layout.h"

namespace memwall::device {
namespace {

/// What an arc of the graph carries: the connection that it is a direction of.
struct Arc {
    std::int64_t latency_ps = 0;
    int edge = -1;  // index into Impl::edges
};
using Graph = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS, Node, Arc>;
using Vertex = boost::graph_traits<Graph>::vertex_descriptor;

/// Shortest ways from one node to all others.
struct Tree {
    std::vector<std::int64_t> distance_ps;
    std::vector<Vertex> predecessor;
};

constexpr std::int64_t kUnreachable = std::numeric_limits<std::int64_t>::max();

}  // namespace

struct Floorplan::Impl {
    explicit Impl(const Device& d);

    void connect(EdgeKind kind, const EdgeParams& params, int from, int to);
    void connect_sms();
    void connect_memory();
    const Tree& tree_from(int source) const;
    [[nodiscard]] std::vector<Hop> way(int from, int to) const;
    [[nodiscard]] const EdgeParams* override_of(int from, int to) const;
    void check_overrides() const;

    Device device;
    Layout layout;
    Graph graph;             // arcs lead towards memory; the link between the halves leads both ways
    std::vector<Hop> edges;  // from the side of the SMs to the side of memory
    std::unordered_map<std::string_view, int> by_name;
    mutable std::unordered_map<int, Tree> trees;
};

Floorplan::Impl::Impl(const Device& d) : device(d), layout(device), graph(layout.nodes.size()) {
    for (std::size_t id = 0; id < layout.nodes.size(); ++id) {
        graph[id] = layout.nodes[id];
        by_name.emplace(layout.nodes[id].name, static_cast<int>(id));
    }
    check_overrides();
    connect_sms();
    connect_memory();
}

void Floorplan::Impl::check_overrides() const {
    std::vector<std::string> names;
    for (const Node& node : layout.nodes) names.push_back(node.name);
    for (std::size_t i = 0; i < device.floorplan.overrides.size(); ++i) {
        const EdgeOverride& o = device.floorplan.overrides[i];
        for (const auto& [end, name] : {std::pair{"from", &o.from}, {"to", &o.to}}) {
            if (by_name.contains(*name)) continue;
            throw InputError(fmt::format("{}: /floorplan/overrides/value/{}/{}", device.name, i, end),
                             "\"" + *name + "\"",
                             "a part of the chip; the nearest is \"" + nearest_name(*name, names) + "\"");
        }
    }
}

const EdgeParams* Floorplan::Impl::override_of(int from, int to) const {
    const std::string &a = layout.nodes[static_cast<std::size_t>(from)].name,
                      &b = layout.nodes[static_cast<std::size_t>(to)].name;
    for (const EdgeOverride& o : device.floorplan.overrides) {
        if ((o.from == a && o.to == b) || (o.from == b && o.to == a)) return &o.edge;
    }
    return nullptr;
}

void Floorplan::Impl::connect(EdgeKind kind, const EdgeParams& usual, int from, int to) {
    const EdgeParams* own = override_of(from, to);
    const EdgeParams& params = own != nullptr ? *own : usual;
    const Node &a = layout.nodes[static_cast<std::size_t>(from)], &b = layout.nodes[static_cast<std::size_t>(to)];
    const double length = std::abs(a.x_mm - b.x_mm) + std::abs(a.y_mm - b.y_mm);  // wires run at right angles
    const double latency_ps = params.latency_cycles * device.sm_clock().period_ps() + params.latency_ns * 1000.0 +
                              length * device.floorplan.wire_ps_per_mm;
    // The graph counts all widths in SM cycles.
    const bool of_sms = kind == EdgeKind::sm_tpc || kind == EdgeKind::tpc_gpc || kind == EdgeKind::gpc_crossbar;
    const double cycles = of_sms ? 1 : device.clocks.l2_mhz / device.clocks.sm_mhz;
    const Edge edge{kind, Ps{std::llround(latency_ps)}, length, params.bytes_per_cycle * cycles,
                    params.bytes_per_cycle_back * cycles};
    const Arc arc{edge.latency.count, static_cast<int>(edges.size())};
    boost::add_edge(static_cast<Vertex>(from), static_cast<Vertex>(to), arc, graph);
    if (kind == EdgeKind::partition_link)
        boost::add_edge(static_cast<Vertex>(to), static_cast<Vertex>(from), arc, graph);
    edges.push_back({from, to, edge});
}

void Floorplan::Impl::connect_sms() {
    const FloorplanParams& f = device.floorplan;
    for (int sm = 0; sm < device.sms(); ++sm) {
        connect(EdgeKind::sm_tpc, f.sm_tpc, layout.id(NodeKind::sm, sm),
                layout.id(NodeKind::tpc, layout.sm_tpc[static_cast<std::size_t>(sm)]));
    }
    for (std::size_t tpc = 0; tpc < layout.tpc_gpc.size(); ++tpc) {
        connect(EdgeKind::tpc_gpc, f.tpc_gpc, layout.id(NodeKind::tpc, static_cast<int>(tpc)),
                layout.id(NodeKind::gpc, layout.tpc_gpc[tpc]));
    }
    for (int gpc = 0; gpc < device.gpcs(); ++gpc) {
        connect(EdgeKind::gpc_crossbar, f.gpc_crossbar, layout.id(NodeKind::gpc, gpc),
                layout.id(NodeKind::crossbar, f.gpc_partition[static_cast<std::size_t>(gpc)]));
    }
}

void Floorplan::Impl::connect_memory() {
    const FloorplanParams& f = device.floorplan;
    const int per_half = device.l2.slices / 2;
    EdgeParams link = f.partition_link;  // a slice's end, or its share of the whole link if that is less
    const double share = f.partition_link_bytes_per_cycle_total / per_half;
    link.bytes_per_cycle = std::min(link.bytes_per_cycle, share);
    link.bytes_per_cycle_back = std::min(link.bytes_per_cycle_back, share);
    for (int slice = 0; slice < device.l2.slices; ++slice) {
        const int node = layout.id(NodeKind::slice, slice);
        connect(EdgeKind::crossbar_slice, f.crossbar_slice, layout.id(NodeKind::crossbar, slice / per_half), node);
        connect(EdgeKind::slice_controller, f.slice_controller, node,
                layout.id(NodeKind::controller, slice / layout.slices_per_controller));
    }
    for (int slice = 0; slice < per_half; ++slice) {
        connect(EdgeKind::partition_link, link, layout.id(NodeKind::slice, slice),
                layout.id(NodeKind::slice, slice + per_half));
    }
    for (std::size_t mc = 0; mc < layout.controller_stack.size(); ++mc) {
        connect(EdgeKind::controller_interposer, f.controller_interposer,
                layout.id(NodeKind::controller, static_cast<int>(mc)),
                layout.id(NodeKind::phy, layout.controller_stack[mc]));
    }
    for (int stack = 0; stack < device.hbm.stacks; ++stack) {
        connect(EdgeKind::interposer_stack, f.interposer_stack, layout.id(NodeKind::phy, stack),
                layout.id(NodeKind::stack, stack));
    }
}

const Tree& Floorplan::Impl::tree_from(int source) const {
    if (const auto it = trees.find(source); it != trees.end()) return it->second;
    Tree tree{std::vector<std::int64_t>(layout.nodes.size(), kUnreachable), std::vector<Vertex>(layout.nodes.size())};
    const auto index = boost::get(boost::vertex_index, graph);
    boost::dijkstra_shortest_paths(
        graph, static_cast<Vertex>(source),
        boost::weight_map(boost::get(&Arc::latency_ps, graph))
            .distance_map(boost::make_iterator_property_map(tree.distance_ps.begin(), index))
            .predecessor_map(boost::make_iterator_property_map(tree.predecessor.begin(), index)));
    return trees.emplace(source, std::move(tree)).first->second;
}

/// Towards memory only; the caller turns around what leads back.
std::vector<Hop> Floorplan::Impl::way(int from, int to) const {
    const Tree& tree = tree_from(from);
    std::vector<Hop> hops;
    if (tree.distance_ps[static_cast<std::size_t>(to)] == kUnreachable) return hops;
    for (auto at = static_cast<Vertex>(to); at != static_cast<Vertex>(from); at = tree.predecessor[at]) {
        const Vertex before = tree.predecessor[at];
        const auto arc = boost::edge(before, at, graph).first;
        hops.push_back(
            {static_cast<int>(before), static_cast<int>(at), edges[static_cast<std::size_t>(graph[arc].edge)].edge});
    }
    std::ranges::reverse(hops);
    return hops;
}

Floorplan::Floorplan(const Device& device) : impl_(std::make_unique<Impl>(device)) {}
Floorplan::Floorplan(Floorplan&&) noexcept = default;
Floorplan& Floorplan::operator=(Floorplan&&) noexcept = default;
Floorplan::~Floorplan() = default;

const std::vector<Node>& Floorplan::nodes() const {
    return impl_->layout.nodes;
}
const std::vector<Hop>& Floorplan::edges() const {
    return impl_->edges;
}

int Floorplan::find(std::string_view name) const {
    const auto it = impl_->by_name.find(name);
    return it == impl_->by_name.end() ? -1 : it->second;
}

int Floorplan::id(NodeKind kind, int index) const {
    return impl_->layout.id(kind, index);
}
int Floorplan::gpc_of_sm(int sm) const {
    return impl_->layout.sm_gpc.at(static_cast<std::size_t>(sm));
}
int Floorplan::tpc_of_sm(int sm) const {
    return impl_->layout.sm_tpc.at(static_cast<std::size_t>(sm));
}
int Floorplan::cpc_of_sm(int sm) const {
    return impl_->layout.sm_cpc.at(static_cast<std::size_t>(sm));
}

int Floorplan::partition_of_sm(int sm) const {
    return impl_->device.floorplan.gpc_partition[static_cast<std::size_t>(gpc_of_sm(sm))];
}

int Floorplan::partition_of_slice(int slice) const {
    return slice / (impl_->device.l2.slices / 2);
}
int Floorplan::stack_of_controller(int controller) const {
    return impl_->layout.controller_stack.at(static_cast<std::size_t>(controller));
}
int Floorplan::controller_of_slice(int slice) const {
    return slice / impl_->layout.slices_per_controller;
}

int Floorplan::mirror_of_slice(int slice) const {
    const int per_half = impl_->device.l2.slices / 2;
    return slice < per_half ? slice + per_half : slice - per_half;
}

std::vector<Hop> Floorplan::route(int from, int to) const {
    std::vector<Hop> hops = impl_->way(from, to);
    if (!hops.empty()) return hops;
    hops = impl_->way(to, from);
    std::ranges::reverse(hops);
    for (Hop& hop : hops) std::swap(hop.from, hop.to);
    return hops;
}

Ps Floorplan::latency(int from, int to) const {
    const std::int64_t there = impl_->tree_from(from).distance_ps[static_cast<std::size_t>(to)];
    if (there != kUnreachable) return Ps{there};
    return Ps{impl_->tree_from(to).distance_ps[static_cast<std::size_t>(from)]};  // kUnreachable is kNever
}

double Floorplan::max_flow(const std::vector<int>& sources, const std::vector<int>& sinks, bool towards_sm) const {
    std::vector<Pipe> pipes;
    for (const auto& [from, to, edge] : edges()) {
        const double width = towards_sm ? edge.bytes_per_cycle_back : edge.bytes_per_cycle;
        if (!towards_sm || edge.kind == EdgeKind::partition_link) pipes.push_back({from, to, width});
        if (towards_sm || edge.kind == EdgeKind::partition_link) pipes.push_back({to, from, width});
    }
    return largest_flow(static_cast<int>(nodes().size()), pipes, sources, sinks);
}

Ps Floorplan::min_latency(const std::vector<EdgeKind>& kinds) const {
    Ps least = kNever;
    for (const Hop& hop : edges()) {
        if (std::ranges::find(kinds, hop.edge.kind) != kinds.end()) least = std::min(least, hop.edge.latency);
    }
    return least;
}

std::string Floorplan::to_dot() const {
    return draw_dot(impl_->device, nodes(), edges());
}

std::string Floorplan::to_svg(const std::vector<double>& heat) const {
    return draw_svg(impl_->device, impl_->layout, heat);
}

}  // namespace memwall::device
