// What is kept of a case's samples.
#pragma once

#include <cstddef>
#include <span>

namespace memwall::measure {

struct Summary {
    double median = 0, minimum = 0, p10 = 0, p90 = 0;
    std::size_t count = 0;
};

/// Percentiles interpolate linearly between the two samples around them (the usual definition, R's type 7). No samples:
/// throws std::invalid_argument.
[[nodiscard]] Summary summarise(std::span<const double> samples);

}  // namespace memwall::measure
