// Pictures of a floorplan.
#pragma once

#include <string>
#include <vector>

#include "device/floorplan.h"
#include "device/layout.h"

namespace memwall::device {

[[nodiscard]] std::string draw_dot(const Device& device, const std::vector<Node>& nodes, const std::vector<Hop>& edges);
[[nodiscard]] std::string draw_svg(const Device& device, const Layout& layout, const std::vector<double>& heat);

}  // namespace memwall::device
