#include "device/flow.h"

#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/push_relabel_max_flow.hpp>
#include <cmath>
#include <cstdint>

namespace memwall::device {
namespace {

using Traits = boost::adjacency_list_traits<boost::vecS, boost::vecS, boost::directedS>;

struct Arc {
    std::int64_t capacity = 0, residual = 0;
    Traits::edge_descriptor reverse;
};
using Network = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS, boost::no_property, Arc>;
using Vertex = Traits::vertex_descriptor;

constexpr double kGrain = 1e4;  // widths in ten-thousandths, so that the algorithm is exact

void add_pipe(Network& network, Vertex from, Vertex to, double width) {
    const auto there = boost::add_edge(from, to, network).first;
    const auto back = boost::add_edge(to, from, network).first;
    network[there].capacity = std::llround(width * kGrain);
    network[there].reverse = back;
    network[back].reverse = there;
}

}  // namespace

double largest_flow(int nodes, const std::vector<Pipe>& pipes, const std::vector<int>& sources,
                    const std::vector<int>& sinks) {
    const auto source = static_cast<Vertex>(nodes), sink = source + 1;
    Network network(source + 2);
    double all = 0;
    for (const Pipe& pipe : pipes) {
        all += pipe.width;
        add_pipe(network, static_cast<Vertex>(pipe.from), static_cast<Vertex>(pipe.to), pipe.width);
    }
    for (const int node : sources) add_pipe(network, source, static_cast<Vertex>(node), all);
    for (const int node : sinks) add_pipe(network, static_cast<Vertex>(node), sink, all);
    const std::int64_t flow = boost::push_relabel_max_flow(
        network, source, sink, boost::get(&Arc::capacity, network), boost::get(&Arc::residual, network),
        boost::get(&Arc::reverse, network), boost::get(boost::vertex_index, network));
    return static_cast<double>(flow) / kGrain;
}

}  // namespace memwall::device
