/// Summaries of a list of numbers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace memwall::validate {

/// The value below which `fraction` (0 to 1) of `values` lie, between neighbours in proportion. Zero of an empty list.
inline double percentile(std::vector<double> values, double fraction) {
    if (values.empty()) return 0;
    std::sort(values.begin(), values.end());
    const double at = fraction * static_cast<double>(values.size() - 1);
    const auto low = static_cast<std::size_t>(at);
    const std::size_t high = std::min(low + 1, values.size() - 1);
    return values[low] + (at - static_cast<double>(low)) * (values[high] - values[low]);
}

inline double median(std::vector<double> values) {
    return percentile(std::move(values), 0.5);
}

}  // namespace memwall::validate
