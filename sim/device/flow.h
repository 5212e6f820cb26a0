// The largest flow through a network of pipes.
#pragma once

#include <vector>

namespace memwall::device {

/// A pipe that carries up to `width` from one node to another.
struct Pipe {
    int from, to;
    double width;
};

[[nodiscard]] double largest_flow(int nodes, const std::vector<Pipe>& pipes, const std::vector<int>& sources,
                                  const std::vector<int>& sinks);

}  // namespace memwall::device
