// A device in words: what `memwall device list` and `device show` print.
#pragma once

#include <string>
#include <vector>

#include "device/floorplan.h"
#include "device/reader.h"

namespace memwall::device {

/// How far a load has to go.
enum class Reach { near_l2, far_l2, near_memory, far_memory };

/// One item of an idle load's latency.
struct BudgetItem {
    std::string what;
    double ns;
};

/// What an idle plain load of one sector pays, item by item, each the mean over the chip. Memory: a bank without an
/// open row, and both bursts of a fill.
[[nodiscard]] std::vector<BudgetItem> latency_budget(const Device& device, const Floorplan& floorplan, Reach reach);
[[nodiscard]] double total_ns(const std::vector<BudgetItem>& budget);

/// Names and descriptions, one device per line. One that cannot be read says why in its line.
[[nodiscard]] std::string list_text(const std::vector<std::string>& config_dirs);

/// Every entry with value, unit, kind and source in columns, then what follows from them.
[[nodiscard]] std::string show_text(const Description& description);

}  // namespace memwall::device
